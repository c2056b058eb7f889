"""The next best offer: how likely a customer is to convert on each offer and channel, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from features.offers import OfferInfo
from features.rows import CustomerRow
from features.texts import Texts
from models.calibration import Calibration, logit, sigmoid
from models.candidates import Together
from models.load import MANIFEST, need
from models.offer_features import PAIR, OfferKnowledge, Projection
from models.reasons import Reason
from models.response import INPUTS, ChannelKnowledge, ResponseHead
from models.trees import TreeModel, parse_trees
from models.weighing import Sides, Weighing, responses_of

Floats = npt.NDArray[np.float64]
FORMAT = 1
MOST_SIDES = 256
TOGETHER = "together.npz"
"""Which products go with which, of a large catalogue."""
LAYER = "layer.npz"
"""How sure the head is: what learning from outcomes begins with."""

__all__ = ["NextOfferModel", "responses_of"]


@dataclass(frozen=True)
class NextOfferModel:
    """Two parts. LightGBM over customer x offer: P(buys from the offer's products within the horizon), calibrated.
    Over it a response head: P(converts when shown it on the channel), learnt from the decision log where there is one.
    `layer`: the `online_layer.OnlineLayer` that outcomes move from there on, as bytes; empty: one that knows nothing.
    """

    trees: TreeModel
    tree_text: str
    calibration: Calibration
    knowledge: OfferKnowledge
    channels: ChannelKnowledge
    response: ResponseHead
    horizon_days: int = 14
    trained: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    layer: bytes = field(default=b"", repr=False)
    _sides: dict[tuple[int, ...], Sides] = field(init=False, repr=False, compare=False, default_factory=dict)

    @property
    def name(self) -> str:
        return "next-offer"

    @property
    def columns(self) -> tuple[str, ...]:
        return INPUTS

    @property
    def learnt_until(self) -> datetime | None:
        """From decisions before this the response head, and with it `layer`, has learnt. None where from none."""
        until = self.trained.get("until")
        if not self.layer or until is None:
            return None
        return datetime.fromisoformat(until) - timedelta(days=self.horizon_days)

    def predict(self, frame: pl.DataFrame) -> Floats:
        """Probabilities, shape (n,), for rows of pair and channel features (`columns`), which name no offer: without
        what `ResponseHead.stages` says of one. Raises MissingColumns."""
        need(frame, INPUTS, self.name)
        rows = np.column_stack([frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in INPUTS])
        rows = rows.reshape(-1, len(INPUTS))
        return self.response.probability(self.purchase_score(rows[:, : len(PAIR)]), rows)

    def purchase_score(self, pairs: Floats) -> Floats:
        """Calibrated log-odds of buying, (n,), of pair features (n, PAIR)."""
        return self.calibrated_purchase(self.trees.raw_score(pairs))

    def calibrated_purchase(self, raw: Floats) -> Floats:
        """The trees' scores as log-odds that hold, same shape."""
        return logit(self.calibration.apply(sigmoid(raw)))

    def score(
        self, row: CustomerRow | None, offers: Sequence[OfferInfo], channels: Sequence[str], at: datetime
    ) -> Floats:
        """P(conversion), shape (offers, channels). `row` None: an unknown customer; new offers go by their category.

        `at` is part of the interface; the features already are as of the row's own time.
        """
        if not offers or not channels:
            return np.zeros((len(offers), len(channels)))
        return np.asarray(self.weigh([row], offers, channels).probabilities[0], np.float64)

    def weigh(
        self, rows: Sequence[CustomerRow | None], offers: Sequence[OfferInfo], channels: Sequence[str]
    ) -> Weighing:
        """Several customers with the same offers and channels (none of them empty), and what reasons are made of.

        A customer's numbers are the same, to the bit, alone and among others.
        """
        return Weighing(self, rows, offers, channels)

    def reasons(
        self, row: CustomerRow | None, offer: OfferInfo, channel: str, at: datetime, n: int = 3
    ) -> tuple[Reason, ...]:
        """The `n` strongest reasons for the score of one offer on one channel, strongest first."""
        return self.weigh([row], [offer], [channel]).reasons(0, 0, 0, n)

    def sides(self, offers: Sequence[OfferInfo]) -> Sides:
        """What of a score depends on the offers alone, remembered from call to call."""
        key = tuple(map(id, offers))
        found = self._sides.get(key)
        if found is None:
            if len(self._sides) >= MOST_SIDES:
                self._sides.clear()
            found = self._sides[key] = Sides.of(self, offers)
        return found

    def with_response(self, response: ResponseHead, channels: ChannelKnowledge, layer: bytes = b"") -> Self:
        """The same purchase part under another head."""
        return replace(self, response=response, channels=channels, layer=layer)

    def with_texts(self, texts: Texts) -> Self:
        """The same model, which finds the vectors of offers' texts there."""
        return replace(self, knowledge=replace(self.knowledge, texts=texts))

    def save(self, folder: Path) -> None:
        """Writes model.json, model.txt, vectors.npz and, where there are any, response.txt, LAYER and TOGETHER."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.txt").write_text(self.tree_text)
        if self.response.tree_text:
            (folder / "response.txt").write_text(self.response.tree_text)
        known = self.knowledge
        names = sorted(known.offer_vectors)
        vectors = np.array([known.offer_vectors[name] for name in names], np.float32)
        vectors = vectors.reshape(len(names), -1 if names else known.dimensions)
        projection = known.projection or Projection("", np.zeros(0), np.zeros((0, 0)))
        categories, mean, axes = known.category_vectors.astype(np.float32), projection.mean, projection.axes
        np.savez(folder / "vectors.npz", categories=categories, offers=vectors, mean=mean, axes=axes)
        pairs = known.together
        if len(pairs.key):
            np.savez(folder / TOGETHER, key=pairs.key, start=pairs.start, near=pairs.near, likeness=pairs.likeness)
        if self.layer:
            (folder / LAYER).write_bytes(self.layer)
        manifest = {
            "format": FORMAT,
            "kind": "next-offer",
            "name": self.name,
            "features": list(INPUTS),
            "calibration": self.calibration.to_dict(),
            "response": self.response.to_dict(),
            "horizon_days": self.horizon_days,
            "categories": list(known.categories),
            "mixes": {offer: [signature, list(mix)] for offer, (signature, mix) in known.mixes.items()},
            "popularity": dict(known.popularity),
            "category_popularity": dict(known.category_popularity),
            "usual_popularity": known.usual_popularity,
            "offers_with_vectors": names,
            "texts_by": projection.model,
            "engagement": dict(self.channels.engagement),
            "channel_rate": dict(self.channels.channel_rate),
            "offer_rate": dict(self.channels.offer_rate),
            "trained": dict(self.trained),
        }
        (folder / MANIFEST).write_text(json.dumps(manifest))

    @classmethod
    def read(cls, folder: Path, manifest: Mapping[str, Any], version: str) -> Self:
        """The model in `folder`. Raises ValueError where it was trained on other features than the present ones."""
        if tuple(manifest["features"]) != INPUTS:
            raise ValueError("the model was trained on other pair features; train it again")
        text = (folder / "model.txt").read_text()
        response = folder / "response.txt"
        return cls(
            parse_trees(text),
            text,
            Calibration.from_dict(manifest["calibration"]),
            _knowledge(folder, manifest),
            ChannelKnowledge(manifest["engagement"], manifest["channel_rate"], manifest["offer_rate"]),
            ResponseHead.from_dict(manifest["response"], response.read_text() if response.exists() else ""),
            int(manifest["horizon_days"]),
            manifest["trained"],
            version,
            (folder / LAYER).read_bytes() if (folder / LAYER).exists() else b"",
        )


def _knowledge(folder: Path, manifest: Mapping[str, Any]) -> OfferKnowledge:
    with np.load(folder / "vectors.npz") as stored:
        categories, offers = stored["categories"].astype(np.float64), stored["offers"].astype(np.float64)
        by = manifest.get("texts_by", "")
        projection = Projection(by, stored["mean"], stored["axes"]) if by else None
    return OfferKnowledge(
        tuple(manifest["categories"]),
        {
            offer: (signature, tuple((name, float(part)) for name, part in mix))
            for offer, (signature, mix) in manifest["mixes"].items()
        },
        manifest["popularity"],
        manifest["category_popularity"],
        float(manifest["usual_popularity"]),
        categories,
        dict(zip(manifest["offers_with_vectors"], offers, strict=True)),
        projection,
        together=_together(folder),
    )


def _together(folder: Path) -> Together:
    if not (folder / TOGETHER).exists():
        return Together.none()
    with np.load(folder / TOGETHER) as stored:
        return Together(stored["key"], stored["start"], stored["near"], stored["likeness"])
