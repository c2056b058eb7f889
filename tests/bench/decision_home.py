"""A seeded home folder for measuring decisions: many customers with features, 50 offers, a trained set of models.

Customers, events and features are the simulated world's; the models have the sizes that training gives them, with
labels made up here. Nothing is measured on how well they predict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lightgbm
import numpy as np
import polars as pl

from features.build import compute
from features.catalogue import FEATURE_NAMES
from features.offers import OfferInfo
from features.rows import open_online
from models import churn, lead, winback
from models.calibration import Calibration
from models.channel_curves import ChannelCurve
from models.declaration import Declaration
from models.load import write_golden
from models.next_offer import NextOfferModel, responses_of
from models.offer_features import PAIR, OfferKnowledge, pair_features
from models.offer_stages import STAGE, OfferStages
from models.presence import Presence
from models.propensity import PropensityModel
from models.response import SEEN, ChannelKnowledge, ResponseHead
from models.send_time import SendTimeModel
from models.trees import parse_trees
from models.week import HOURS
from service.clock import new_id
from service.content.variant import Variant, said_hash
from service.content.variant_store import add_variants, count_change
from service.customers.customer_store import write_profiles
from service.customers.profile import Profile
from service.events.frame import events_frame
from service.events.normalize import Rules, normalize
from service.offers.catalogue import CatalogueCache
from service.offers.offers_store import put_offers
from service.offers.schemas import OfferIn
from service.storage.database import Database
from service.storage.migrate import migrate
from service.web.auth import create_key
from service.wiring.text_watch import make_vectors
from training.members import fit_members
from training.offer_fit import HEAD_PARAMETERS, HEAD_ROUNDS, PARAMETERS, ROUNDS
from training.world.catalogue import CATEGORIES
from training.world.world import World

CUSTOMERS, ORIGINALS, OFFERS = 20_000, 200, 50
CHANNELS = ("email", "sms")
SETTINGS = """
default_timezone = "UTC"
[placements.default.arms]
model = 0.85
random = 0.05
business_as_usual = 0.05
holdout = 0.05
[decisions]
[[decisions.caps]]
max = 20
per_days = 7
[[decisions.caps]]
channel = "sms"
max = 10
per_days = 7
"""
RULES = (
    None,
    "customer.features.orders_365d >= 1.0",
    "!(has(customer.scores.churn) && customer.scores.churn > 0.95)",
    "!(has(customer.scores.lead) && customer.scores.lead > 0.99) && !('vip' in customer.segments)",
    "!(has(customer.scores.winback) && customer.scores.winback > 0.99)",
)


def make_home(home: Path, trees: int = ROUNDS, leaves: int | None = None) -> str:
    """Fills an empty folder; returns an API key with the scope `decide`. `trees`, `leaves`: size of the ranker."""
    home.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    (home / "opportune.toml").write_text(SETTINGS)
    database = Database(f"sqlite:///{home / 'state.db'}")
    migrate(database)
    key = create_key(database, ("decide",), "bench", now)
    infos = _offers(database, now)
    names = _customers(database, now)
    rows, values = _features(home, names, now)
    size = {"num_leaves": leaves, "max_depth": -1, "min_data_in_leaf": 5} if leaves else {}
    _models(home / "served", rows, values, infos, trees, size)
    with database.read() as connection:
        wrong = make_vectors(home, CatalogueCache().current(connection))
    database.close()
    if wrong is not None:  # a server would have them made while it is measured
        raise RuntimeError(f"the texts of the offers have no vectors: {wrong}")
    return key


def customer_ids() -> list[str]:
    """The ids that requests ask for."""
    return [f"customer-{number:05}" for number in range(CUSTOMERS)]


def _offers(database: Database, now: datetime) -> list[OfferInfo]:
    documents, variants, infos = {}, [], []
    for number in range(OFFERS):
        offer_id = f"offer-{number:02}"
        category = CATEGORIES[number % len(CATEGORIES)]
        documents[offer_id] = OfferIn.model_validate(
            {
                "name": f"{10 + number % 5 * 5}% off {category}",
                "description": f"Everything of {category}, this week",
                "category": category,
                "channels": ["email", "sms"],
                "facts": {"discount": {"percent": 10 + number % 5 * 5}},
                "value": 8.0 + number % 7,
                "cost": 0.1,
                "eligibility": RULES[number % len(RULES)],
                "caps": [{"max": 3, "per_days": 30}] if number % 2 else [],
            }
        ).document()
        for channel in CHANNELS:
            variants.append(_variant(offer_id, channel, documents[offer_id], now))
        infos.append(OfferInfo(offer_id, category, frozenset(), CHANNELS, 10.0, None, 8.0, 0.1, None, ()))
    with database.write() as connection:
        put_offers(connection, documents, now)
        add_variants(connection, variants)
        count_change(connection)
    return infos


def _variant(offer_id: str, channel: str, document: dict, now: datetime) -> Variant:  # type: ignore[type-arg]
    body = "For you this week, {{ customer.first_name | default: 'friend' }}: come and see what is new. "
    fields = {"body": (body * 2).strip()}
    if channel == "email":
        fields |= {"subject": "Something for you this week", "preheader": "Come and see"}
    hashed = said_hash(document)
    return Variant(
        new_id(now), offer_id, hashed, channel, "en", None, "plain", "approved", fields, (), {}, 1, now, now
    )  # fmt: skip


def _customers(database: Database, now: datetime) -> list[str]:
    zones = ("Europe/Berlin", "America/New_York", "Asia/Bangkok", "UTC")
    profiles = [
        Profile(
            name,
            now,
            now,
            identified=True,
            timezone=zones[place % 4],
            locale="en",
            traits={"email": f"{name}@example.net", "first_name": "Kim", "age_band": "35-44", "city": "Ulm"},
            segments={"newsletter": "traits"},
            consents={channel: {"marketing": True} for channel in CHANNELS},
        )
        for place, name in enumerate(customer_ids())
    ]
    with database.write() as connection:
        write_profiles(connection, profiles)
    return customer_ids()


def _features(home: Path, names: list[str], now: datetime) -> tuple[list, np.ndarray]:  # type: ignore[type-arg]
    """Packed rows of everyone: some customers of the world, again and again under other names."""
    world = World(7, ORIGINALS, start=now.date())
    messages = world.history()
    rules = Rules()
    events = [normalize(message, rules, now, imported=True) for message in messages]
    frame = events_frame([event for event in events if event["timestamp"] < now - timedelta(minutes=1)])
    ids = frame["customer_id"].unique().sort().to_list()
    online = open_online(str(home / "online.db"))
    for start in range(0, len(names), len(ids)):
        named = dict(zip(ids, names[start : start + len(ids)], strict=False))
        mine = frame.filter(pl.col("customer_id").is_in(list(named)))
        online.load(mine.with_columns(pl.col("customer_id").replace_strict(named)), now)
    rows = [row for row in online.read(names[: len(ids)], now) if row is not None]
    online.close()
    cuts = pl.DataFrame({"customer_id": ids, "as_of": [now] * len(ids)})
    cuts = pl.concat([cuts.with_columns(as_of=pl.lit(now - timedelta(days=back))) for back in range(0, 50, 5)])
    cuts = cuts.with_columns(pl.col("as_of").cast(pl.Datetime("us", "UTC")))
    return rows, compute(frame, cuts).select(FEATURE_NAMES).to_numpy()


def _models(
    served: Path, rows: list, values: np.ndarray, offers: list[OfferInfo], trees: int, size: Mapping[str, int]  # type: ignore[type-arg]
) -> None:  # fmt: skip
    random = np.random.default_rng(3)
    models = {
        "lead": _propensity(lead.DECLARATION, values, random),
        "churn": _propensity(churn.DECLARATION, values, random),
        "winback": _propensity(winback.DECLARATION, values, random),
        "next-offer": _next_offer(rows, offers, random, trees, size),
        "send-time": _send_time(random),
    }
    for name, model in models.items():
        model.save(served / name / "1")
        golden = {column: random.random(4) for column in model.columns}
        if name == "send-time":
            golden = {"channel": list(CHANNELS), "hour_of_week": [9, 100]}
        write_golden(model, served / name / "1", pl.DataFrame(golden))
    (served / "aliases.json").write_text(json.dumps({name: {"champion": "1"} for name in models}))


def _propensity(declaration: Declaration, values: np.ndarray, random: np.random.Generator) -> PropensityModel:  # type: ignore[type-arg]
    chance = 1 / (1 + np.exp(2 - np.nan_to_num(values[:, :20]) @ random.normal(0, 0.02, 20)))
    labels = (random.random(len(values)) < chance).astype(float)
    members = fit_members(values, labels, np.ones(len(values)), 0)
    text = members.booster.model_to_string(num_iteration=130)
    everyone = replace(declaration, population=())
    return PropensityModel(
        everyone, FEATURE_NAMES, parse_trees(text), text, members.linear[1], 0.5, Calibration("platt", (0.9, 0.9, 0.1))
    )


def _next_offer(
    rows: list, offers: list[OfferInfo], random: np.random.Generator, trees: int, size: Mapping[str, int]  # type: ignore[type-arg]
) -> NextOfferModel:  # fmt: skip
    vectors = random.normal(size=(len(CATEGORIES), 384))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    known = OfferKnowledge(
        tuple(CATEGORIES), {}, {}, {name: -2.5 + place / 5 for place, name in enumerate(CATEGORIES)}, -2.0, vectors, {}
    )
    table = known.table(offers)
    pairs = np.concatenate(
        [pair_features(known.customers(row.values, row.affinity), table, known)[0] for row in rows for _ in range(4)]
    )
    seen = np.nan_to_num(pairs, posinf=0.0, neginf=0.0)
    score = -2 + 0.5 * seen[:, PAIR.index("category_orders_90d")] + 0.02 * seen[:, 1]
    labels = (random.random(len(pairs)) < 1 / (1 + np.exp(-score))).astype(float)
    data = lightgbm.Dataset(pairs, labels, feature_name=list(PAIR), params={"verbose": -1, "max_bin": 127})
    text = lightgbm.train({**PARAMETERS, **size}, data, trees).model_to_string()
    channels = ChannelKnowledge({"email": 0.3, "sms": 0.2}, {"email": 0.1, "sms": -0.1}, {"offer-01": 0.4})
    model = NextOfferModel(
        parse_trees(text), text, Calibration("beta", (0.9, 1.1, 0.0)), known, channels, ResponseHead()
    )
    heads = channels.inputs([offer.offer_id for offer in offers], CHANNELS, responses_of(rows[0]))
    inputs = np.repeat(pairs, len(CHANNELS), axis=0)
    inputs = np.column_stack([np.repeat(model.purchase_score(pairs), len(CHANNELS)), inputs,
                              np.tile(heads.reshape(-1, heads.shape[2]), (len(pairs) // len(offers), 1))])  # fmt: skip
    answered = (random.random(len(inputs)) < 1 / (1 + np.exp(1.5 - 0.5 * inputs[:, 0]))).astype(float)
    data = lightgbm.Dataset(inputs, answered, feature_name=list(SEEN), params={"verbose": -1, "max_bin": 127})
    head = lightgbm.train(dict(HEAD_PARAMETERS), data, HEAD_ROUNDS).model_to_string()
    weights = np.random.default_rng(4).normal(0, 0.02, (len(offers), len(STAGE)))
    stages = OfferStages(np.ones(len(STAGE)), {offer.offer_id: one for offer, one in zip(offers, weights, strict=True)})
    return model.with_response(ResponseHead("trees", Calibration(), None, parse_trees(head), head, stages), channels)


def _send_time(random: np.random.Generator) -> SendTimeModel:
    profiles = random.dirichlet(np.full(HOURS, 2.0), 4)
    lag = np.exp(-np.arange(24) / 3)
    presence = Presence(profiles, np.full(4, 0.25), 30.0, lag / lag.sum())
    curves = {c: ChannelCurve(random.uniform(0.02, 0.2, HOURS), 0.1, 0.2, 10) for c in CHANNELS}
    return SendTimeModel(curves, presence, 0.7, 20.0)
