"""Random interleavings of what users do, over HTTP, with restarts: every verdict is what an independent model says.

What the walk does is the same each time; which of the allowed candidates comes first may hang on when rates were read.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.main import create_front
from service.settings import Settings
from service.web.auth import create_key
from service.wiring import build
from tests.end_to_end.api_home import serving
from tests.end_to_end.conftest import eventually
from tests.fakes.databases import new_database
from tests.fakes.reference_rules import CHANNELS, KEPT, QUIET, SETTINGS, Line, Person, verdict

pytestmark = pytest.mark.slow
STEPS = 150
ZONES = ("Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia")
OFFERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "once": {"caps": [{"max": 1, "per_days": 3}]},
    "daily": {"caps": [{"max": 2, "per": "calendar_day"}], "channels": ["email", "web"]},
    "few": {"caps": [{"max": 4, "per_days": 2, "per": "everyone"}]},
    "dear": {"cost": 0.5, "budget": {"amount": 1.0, "per_days": 1}},
    "tea": {"exclusion_group": "g", "exclusion_days": 3.0},
    "coffee": {"exclusion_group": "g", "exclusion_days": 1.5, "channels": ["web", "push"]},
    "next": {"requires": [{"offer_id": "plain", "event": "delivered", "within_days": 5.0, "after_days": 0.5}]},
    "vip": {"eligibility": "customer.traits.vip == true"},
    "promo": {"tags": ["promo"]},
    "shared": {"cost": 1.0, "budget": {"amount": 3.0, "per": "calendar_day"},
               "caps": [{"max": 5, "per": "calendar_day", "of": "everyone"}]},
}  # fmt: skip


class Walk:
    """One random walk: what the service was told, and what must follow from it."""

    def __init__(self, seed: int, settings: Settings, clock: Path, now: datetime) -> None:
        self.random, self.settings, self.clock, self.now = random.Random(seed), settings, clock, now
        self.offers = {name: dict(offer) for name, offer in OFFERS.items()}
        self.people: dict[str, Person] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.erased: list[Line] = []
        self.messages = 0
        self.seen: set[str | None] = set()
        self.api: httpx.Client
        self.tick()

    def tick(self) -> None:
        self.now += timedelta(
            seconds=self.random.choice([1, 600, 600, 3_600, 3_600, 7_200, 7_200, 86_400]), microseconds=7
        )
        beside = self.clock.with_suffix(".new")
        beside.write_text(self.now.isoformat())
        beside.replace(self.clock)

    @contextmanager
    def service(self) -> Iterator[None]:
        """The service over the home, until the block ends."""
        parts = build(self.settings)
        headers = {"Authorization": f"Bearer {create_key(parts.database, ('admin',), 'test', self.now)}"}
        with (
            serving(create_front(parts)) as url,
            httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as self.api,
        ):
            yield

    def ask(self, method: str, path: str, status: int = 200, **what: Any) -> Any:
        answer = self.api.request(method, path, **what)
        assert answer.status_code == status, (method, path, what, answer.text)
        return answer.json() if answer.content else None

    def tell(self, who: str, **message: Any) -> None:
        """One event, now and then twice, and its effects."""
        self.messages += 1
        message = {"messageId": f"m{self.messages}", **message}
        message |= {"userId": who} if who[0] == "u" else {"anonymousId": who}
        for _ in range(self.random.choice([1, 1, 2])):
            self.ask("POST", "/v1/batch", json={"batch": [message]})
        assert eventually(self.has_settled, seconds=30)

    def has_settled(self) -> bool:
        """Whether no event waits for its effects; a busy machine does not always say."""
        beats = self.ask("GET", "/health/ready").get("heartbeats")
        return beats is not None and beats["events"]["pending"] == 0

    def person(self, name: str) -> Person:
        return self.people.setdefault(name, Person(name, {name}))

    def everybody(self) -> list[Line]:
        people = {id(person): person for person in self.people.values()}.values()
        return [*self.erased, *(line for person in people for line in person.lines)]

    def somebody(self) -> str:
        return self.random.choice(["u0", "u1", "u2", "a0", "a1"])

    def late(self) -> datetime:
        return self.now - timedelta(seconds=self.random.choice([0, 0, 0, 60, 40_000, 200_000]))

    def step(self) -> None:
        self.tick()
        acts = [self.decide] * 12 + [self.deliver] * 6 + [self.identify] * 2 + [self.consent] * 3 + [self.bounce]
        acts += (
            [self.happen] * 3 + [self.change_offer] * 2 + [self.join] * 3 + ([self.erase] if self.messages % 3 else [])
        )
        self.random.choice(acts)()

    def identify(self) -> None:
        who, at = self.somebody(), self.late()
        zone, vip = self.random.choice(ZONES), self.random.choice([True, False])
        person = self.person(who)
        person.told("vip", vip, at)
        if person.zone is None or at >= person.zone[1] + timedelta(hours=zone == person.zone[0]):
            person.zone = (zone, at)
        self.tell(who, type="identify", traits={"vip": vip}, context={"timezone": zone}, timestamp=at.isoformat())

    def join(self) -> None:
        user, other = self.random.choice(["u0", "u1", "u2"]), self.somebody()
        person, joined = self.person(user), self.person(other)
        if person is joined or joined.owner != other:
            return
        person.join(joined)
        self.people.update(dict.fromkeys(joined.ids, person))
        self.tell(user, type="alias", previousId=other)

    def consent(self) -> None:
        who, channel, answer = (
            self.somebody(),
            self.random.choice(CHANNELS),
            self.random.choice([True, True, False, None]),
        )
        if self.random.random() < 0.5:
            self.person(who).consents[channel] = (answer, self.now)
            self.ask("PUT", f"/v1/customers/{who}/consents", json={channel: {"marketing": answer}})
        else:
            at, name = self.late(), "Subscribed" if answer else "Unsubscribed"
            self.person(who).says(channel, bool(answer), at)
            self.tell(who, type="track", event=name, properties={"channel": channel}, timestamp=at.isoformat())

    def bounce(self) -> None:
        who, channel = self.somebody(), self.random.choice(["email", "sms"])
        self.person(who).bounced[channel] = self.now
        self.tell(who, type="track", event="Email Bounced" if channel == "email" else "SMS Bounced")

    def happen(self) -> None:
        """An order, a complaint, or somebody else's message."""
        who, at = self.somebody(), self.late()
        name = self.random.choice(["Order Completed"] * 3 + ["SMS Delivered"] * 3 + ["Email Marked as Spam"])
        person = self.person(who)
        if name == "Order Completed":
            person.moments["purchase", ""].append(at)
        elif name == "SMS Delivered":
            person.reached("sms", at)
            person.lines.append(Line("", "", "sms", True, False, at, None))
        else:
            person.moments["complaint", ""].append(at)
            person.says("email", False, at)
        properties = {"order_id": f"o{self.messages}"} if name == "Order Completed" else {}
        self.tell(who, type="track", event=name, properties=properties, timestamp=at.isoformat())

    def deliver(self) -> None:
        """One of a decision's actions is told delivered, or clicked, which proves it."""
        found = [one for one in list(self.answers.values())[-12:] if one["actions"]]
        if not found:
            return
        answer = self.random.choice(found)
        action, told = self.random.choice(answer["actions"]), self.late()
        at, clicked = max(told, datetime.fromisoformat(answer["decided_at"])), self.random.random() < 0.3
        person = next(one for one in self.people.values() if answer["decision_id"] in one.decisions)
        lines = [line for line in person.lines if line.decision_id == answer["decision_id"]]
        fitting = [line for line in lines if line.offer == action["offer_id"]]
        if not fitting:
            return  # a bounce gave it back
        line = min(fitting, key=lambda one: (one.channel != action["channel"], one.expires is not None, one.rank))
        if line.expires is None:
            line.at = min(line.at, at)
        else:
            beside = any(one.message and one.expires is None and one.channel == line.channel for one in lines)
            for one in lines:
                one.message = one.message and one.expires is None
            line.message, line.impression, line.at, line.expires = not clicked or not beside, True, at, None
            person.moments["delivered", line.offer].append(at)
        if not clicked:
            person.moments["delivered", line.offer].append(at)
            person.reached(action["channel"], told)
        named = {key: action[key] for key in ("offer_id", "channel")} | {"decision_id": answer["decision_id"]}
        name = "Offer Clicked" if clicked else "Offer Delivered"
        self.tell(person.owner, type="track", event=name, properties=named, timestamp=told.isoformat())

    def change_offer(self) -> None:
        name = self.random.choice(list(self.offers))
        offer = self.offers[name]
        starts = self.now + timedelta(hours=self.random.choice([-40, -4, 9]))
        dates = {"starts_at": starts.isoformat(), "ends_at": (starts + timedelta(hours=20)).isoformat()}
        changes: list[dict[str, Any]] = [
            {"priority": 0.0}, {"priority": 1.0}, dates, {"caps": []}, {"caps": [{"max": 2, "per_days": 1.0}]},
            {"caps": [{"max": 3, "per": "calendar_day", "of": "everyone"}]},
        ]  # fmt: skip
        kept = {key: value for key, value in offer.items() if key not in {"starts_at", "ends_at"}}
        self.offers[name] = kept | self.random.choice(changes)
        self.put_offers([name])

    def put_offers(self, names: list[str]) -> None:
        told = [{"offer_id": name, "name": name, "value": 10.0, **self.offers[name]} for name in names]
        self.ask("PUT", "/v1/offers", json={"offers": told})

    def erase(self) -> None:
        who = self.somebody()
        if self.random.random() < 0.7 or who not in self.people:
            return
        assert self.ask("DELETE", f"/v1/customers/{who}")["complete"]
        person = self.people[who]
        self.erased += person.lines
        for name in person.ids:
            self.people.pop(name, None)
            self.ask("GET", f"/v1/customers/{name}", 404)
        for decision in person.decisions:
            del self.answers[decision]
            self.ask("GET", f"/v1/decisions/{decision}", 404)

    def decide(self) -> None:
        who, placement = self.somebody(), self.random.choice(["default", "second"])
        channels = self.random.sample(CHANNELS, self.random.randint(1, 6))
        offers = self.random.sample(list(self.offers), self.random.randint(1, len(self.offers)))
        asked = {"customer_id": who, "placement": placement, "channels": channels, "offers": offers, "top_k": 3}
        headers = {"Idempotency-Key": f"d{len(self.answers)}-{self.now}"} if self.random.random() < 0.3 else {}
        answer = self.ask("POST", "/v1/decisions", json=asked, headers=headers)
        person = self.person(who)
        assert answer["customer_id"] == person.owner
        told = {(one["offer_id"], one["channel"]): one["rule"] for one in answer["excluded"]}
        assert len(told) == len(answer["excluded"])
        sent = {(one["offer_id"], one["channel"]) for one in answer["actions"]}
        everybody, wanted = self.everybody(), dict[tuple[str, str | None], str]()
        for name in offers:
            fitting = [channel for channel in channels if channel in self.offers[name].get("channels", CHANNELS)]
            wanted |= {} if fitting else {(name, None): "offer_channel"}
            for channel in fitting:
                rule = verdict(person, everybody, self.offers, name, channel, placement, self.now)
                self.seen.add(rule)
                assert rule is None or (name, channel) not in sent, (rule, name, channel, asked)
                wanted |= {(name, channel): rule} if rule else {}
        beside = {key for key, rule in told.items() if rule == "exclusion" and key not in wanted}  # of the list
        assert {key: rule for key, rule in told.items() if key not in beside} == wanted, (self.now, asked, person)
        for action in answer["actions"]:
            at = datetime.fromisoformat(action["send_at"])
            assert at >= self.now
            assert not (action["channel"] in QUIET and person.is_quiet(at))
        self.keep(person, answer, placement)

    def keep(self, person: Person, answer: dict[str, Any], placement: str) -> None:
        record = self.ask("GET", f"/v1/decisions/{answer['decision_id']}")
        assert sum(one["propensity"] for one in record["candidates"]) == pytest.approx(1, abs=1e-9)
        assert record["actions"] == answer["actions"]
        self.answers[answer["decision_id"]] = answer
        person.decisions.add(answer["decision_id"])
        shown: set[str] = set()
        for action in answer["actions"]:
            name, at = action["offer_id"], datetime.fromisoformat(action["send_at"])
            offer, new = self.offers[name], name not in shown
            shown.add(name)
            group, cost = offer.get("exclusion_group"), offer.get("cost", 0.0) if new else 0.0
            rank, channel = action["rank"], action["channel"]
            kept = (placement, group, cost, rank)
            person.lines.append(Line(answer["decision_id"], name, channel, rank == 1, new, at, at + KEPT, *kept))

    def look_back(self) -> None:
        """Every decision that was ever answered, and not erased, is there and is made again to the byte."""
        for name, answer in self.answers.items():
            assert self.ask("GET", f"/v1/decisions/{name}")["actions"] == answer["actions"]
            assert self.ask("POST", f"/v1/decisions/{name}/replay")["equal"]


@pytest.mark.parametrize(("kind", "seed"), [("sqlite", 3), ("postgres", 5)])
def test_every_verdict_is_what_the_model_says(
    kind: str, seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        _walk(seed, tmp_path, None)
    else:
        with new_database(request.getfixturevalue("postgres_server")) as url:
            _walk(seed, tmp_path, url)


def _walk(seed: int, folder: Path, url: str | None) -> None:
    clock, begin = folder / "clock", datetime(2026, 3 if seed % 2 else 10, 22, 9, tzinfo=UTC)  # clocks change then
    clock.write_text(begin.isoformat())
    settings = Settings(home=folder / "home", database_url=url, clock=f"file:{clock}", **SETTINGS)
    walk = Walk(seed, settings, clock, begin)
    with walk.service():
        walk.put_offers(list(walk.offers))
        for _ in range(STEPS // 2):
            walk.step()
    with walk.service():
        for _ in range(STEPS // 2):
            walk.step()
        walk.look_back()
    assert {None, "consent", "suppression", "eligibility", "prerequisite"} <= walk.seen  # the walk's own doing
