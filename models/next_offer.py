"""The next best offer: how likely a customer is to convert on each offer and channel, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from features.offers import OfferInfo
from features.rows import CustomerRow
from models.calibration import Calibration, logit, sigmoid
from models.load import MANIFEST, need
from models.offer_features import LIKED, PAIR, OfferKnowledge, describe, pair_features
from models.reasons import Reason, sentence, strongest
from models.response import INPUTS, SEEN, ChannelKnowledge, ResponseHead
from models.trees import TreeModel, parse_trees

Floats = npt.NDArray[np.float64]
FORMAT = 1


@dataclass(frozen=True)
class NextOfferModel:
    """Two parts. LightGBM over customer x offer: P(buys from the offer's products within the horizon), calibrated.
    Over it a response head: P(converts when shown it on the channel), learnt from the decision log where there is one.
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

    @property
    def name(self) -> str:
        return "next-offer"

    @property
    def columns(self) -> tuple[str, ...]:
        return INPUTS

    def predict(self, frame: pl.DataFrame) -> Floats:
        """Probabilities, shape (n,), for rows of pair and channel features (`columns`). Raises MissingColumns."""
        need(frame, INPUTS, self.name)
        rows = np.column_stack([frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in INPUTS])
        rows = rows.reshape(-1, len(INPUTS))
        return self.response.probability(self.purchase_score(rows[:, : len(PAIR)]), rows)

    def purchase_score(self, pairs: Floats) -> Floats:
        """Calibrated log-odds of buying, (n,), of pair features (n, PAIR)."""
        return logit(self.calibration.apply(sigmoid(self.trees.raw_score(pairs))))

    def score(
        self, row: CustomerRow | None, offers: Sequence[OfferInfo], channels: Sequence[str], at: datetime
    ) -> Floats:
        """P(conversion), shape (offers, channels). `row` None: an unknown customer; new offers go by their category.

        `at` is part of the interface; the features already are as of the row's own time.
        """
        if not offers or not channels:
            return np.zeros((len(offers), len(channels)))
        pairs, inputs = self._inputs(row, offers, channels)
        scores = np.repeat(self.purchase_score(pairs), len(channels))
        return self.response.probability(scores, inputs).reshape(len(offers), len(channels))

    def _inputs(
        self, row: CustomerRow | None, offers: Sequence[OfferInfo], channels: Sequence[str]
    ) -> tuple[Floats, Floats]:
        """Pair features (offers, PAIR), and with the channels' (offers * channels, INPUTS)."""
        table = self.knowledge.table(offers)
        known = self.knowledge.customers(row.values if row else None, row.affinity if row else {})
        pairs = pair_features(known, table, self.knowledge)[0]
        rates = self.channels.inputs([offer.offer_id for offer in offers], channels, responses_of(row))
        wide = np.broadcast_to(pairs[:, None, :], (len(offers), len(channels), len(PAIR)))
        return pairs, np.concatenate([wide, rates], axis=2).reshape(-1, len(INPUTS))

    def reasons(
        self, row: CustomerRow | None, offer: OfferInfo, channel: str, at: datetime, n: int = 3
    ) -> tuple[Reason, ...]:
        """The `n` strongest reasons for the score of one offer on one channel, strongest first."""
        pairs, inputs = self._inputs(row, [offer], [channel])
        score = self.purchase_score(pairs)
        effects = self.response.effects(score, inputs)[0]
        names, total = list(SEEN[1:]), effects[1:].copy()
        total[: len(PAIR)] += self._through_purchase(pairs, float(score[0]), float(effects[0]))
        values = {**(dict(row.values) if row else {}), **dict(zip(INPUTS, inputs[0].tolist(), strict=True))}
        category = self.knowledge.main_category(offer)
        if row is not None and category is not None:
            values |= dict(zip(LIKED, row.affinity.get(category, (0.0, 0.0, float("nan"))), strict=True))

        def say(name: str, told: Mapping[str, float]) -> str | None:
            if name.startswith("channel_") or name == "offer_rate":
                return _of_rates(name, channel, total[names.index(name)])
            return describe(name, told, category) or (sentence(name, told) if row else None)

        return strongest(names, total, values, n, say)

    def _through_purchase(self, pairs: Floats, score: float, effect: float) -> Floats:
        """The purchase score's effect, divided among the features behind it by their path contributions."""
        parts = self.trees.contributions(pairs)[0, :-1]
        if self.response.kind == "purchase":
            return parts
        size = float(np.abs(parts).sum())
        return np.asarray(parts * min(abs(effect) / size, 1.0) if size > 0 else parts, np.float64)

    def with_response(self, response: ResponseHead, channels: ChannelKnowledge) -> Self:
        """The same purchase part under another head."""
        return replace(self, response=response, channels=channels)

    def save(self, folder: Path) -> None:
        """Writes model.json, model.txt, vectors.npz and, if the head has trees, response.txt into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.txt").write_text(self.tree_text)
        if self.response.tree_text:
            (folder / "response.txt").write_text(self.response.tree_text)
        known = self.knowledge
        names = sorted(known.offer_vectors)
        vectors = np.array([known.offer_vectors[name] for name in names], np.float32).reshape(len(names), -1)
        np.savez(folder / "vectors.npz", categories=known.category_vectors.astype(np.float32), offers=vectors)
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
        )


def _knowledge(folder: Path, manifest: Mapping[str, Any]) -> OfferKnowledge:
    with np.load(folder / "vectors.npz") as stored:
        categories, offers = stored["categories"].astype(np.float64), stored["offers"].astype(np.float64)
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
    )


def responses_of(row: CustomerRow | None) -> dict[str, tuple[float, float]] | None:
    """Deliveries and human responses of a customer by channel; None for somebody unknown."""
    if row is None:
        return None
    return {channel: (float(sent.sum()), float(got.sum())) for channel, (sent, got) in row.response_hours.items()}


def _of_rates(name: str, channel: str, effect: float) -> str | None:
    more = "more" if effect > 0 else "less"
    if name == "channel_engagement":
        return f"answers {channel} {more} than others do"
    if name == "channel_rate" or name == f"channel_{channel}":
        return f"{channel} brings {more} conversions than other channels"
    return f"this offer converts {more} than others" if name == "offer_rate" else None
