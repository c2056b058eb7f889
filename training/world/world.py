"""The simulated world: customers whose true response is known, on a simulated clock, speaking Segment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from training.world import background, messages
from training.world.catalogue import CHANNELS, default_offers
from training.world.messages import Message, stamp
from training.world.population import AGE_BANDS, KINDS, RESPONSE, ZONES, Floats, Ints, Population, draw
from training.world.response import fixed_effect, funnel, hour_effect, sigmoid

DAY = timedelta(days=1)
FATIGUE_DAYS = 7
AWAKE = range(8, 21)
HISTORY_DAYS = 120
DEFAULT_START = date(2026, 3, 2)
CAMPAIGN_EVERY = 5


@dataclass(frozen=True, slots=True)
class Action:
    """One message that reached a customer. `properties` (such as decision_id) are repeated in every response."""

    customer_id: str
    offer_id: str
    channel: str
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Best:
    """The best that anybody could do, knowing everything. `offer_id` is None where sending nothing is best."""

    offer_id: str | None
    channel: str | None
    send_at: datetime | None
    probability: float
    expected_value: float


class World:
    """Customers, their hidden traits, and what has been sent to them.

    Reproducible: the same seed, start and calls give the same events. `start` is day 0 (UTC midnight).
    """

    def __init__(self, seed: int = 7, n_customers: int = 500, start: date = DEFAULT_START) -> None:
        self.seed = seed
        self.offers = default_offers()
        self.start = datetime(start.year, start.month, start.day, tzinfo=UTC)
        self.people: Population = draw(seed, n_customers)
        self.customers = tuple(f"w{seed}-{index:05d}" for index in range(n_customers))
        self.index = {customer: index for index, customer in enumerate(self.customers)}
        self.offer = {offer.offer_id: number for number, offer in enumerate(self.offers)}
        self._fixed: Floats = fixed_effect(self.people, np.arange(n_customers), self.offers)
        self._values = np.array([offer.value for offer in self.offers])[:, None]
        self._costs = np.array([offer.cost for offer in self.offers])[:, None]
        self._sends: dict[int, list[datetime]] = defaultdict(list)
        self._unsubscribed: set[tuple[int, str]] = set()
        self._revived: dict[int, int] = {}

    # What is true

    def true_probability(self, customer_id: str, offer_id: str, channel: str, hour: int, recent_sends: int) -> float:
        """P(convert) on a message at the local hour of the week (0 = Monday 00) after so many in seven days."""
        index = self.index[customer_id]
        table = self._probabilities(index, np.array([hour]), np.array([recent_sends]))[0]
        return float(table[self.offer[offer_id], CHANNELS.index(channel)])

    def expected_value(self, action: Action, at: datetime) -> float:
        """probability x value - cost, truly, of sending the action at `at`."""
        offer = self.offers[self.offer[action.offer_id]]
        return self.probability_at(action, at) * offer.value - offer.cost

    def probability_at(self, action: Action, at: datetime) -> float:
        """The true probability at `at`, with the customer's zone and recent messages looked up."""
        index = self.index[action.customer_id]
        if (index, action.channel) in self._unsubscribed:
            return 0.0
        hour = self.local_hour(action.customer_id, at)
        recent = self.recent_sends(action.customer_id, at)
        return self.true_probability(action.customer_id, action.offer_id, action.channel, hour, recent)

    def best_action(self, customer_id: str, at: datetime, hours: int = 24) -> Best:
        """The action of the highest true expected value over the waking hours of the next `hours`, or nothing."""
        index = self.index[customer_id]
        moments = self._moments(customer_id, at, hours)
        table = self._table(customer_id, moments)
        worth = table * self._values - self._costs
        for number, channel in enumerate(CHANNELS):
            if (index, channel) in self._unsubscribed:
                worth[:, :, number] = -np.inf
        flat = int(np.argmax(worth))
        top = float(worth.flat[flat])
        if top <= 0:
            return Best(None, None, None, 0.0, 0.0)
        hour, offer, number = (int(place) for place in np.unravel_index(flat, worth.shape))
        probability = float(table[hour, offer, number])
        return Best(self.offers[offer].offer_id, CHANNELS[number], moments[hour], probability, top)

    def uniform_value(self, customer_id: str, at: datetime, hours: int = 24) -> float:
        """The mean true expected value of any offer on any subscribed channel at any waking hour from `at`."""
        index = self.index[customer_id]
        open_channels = [CHANNELS.index(channel) for channel in self.subscribed(customer_id)]
        if not open_channels:
            return 0.0
        table = self._table(customer_id, self._moments(customer_id, at, hours))
        worth = (table * self._values - self._costs)[:, :, open_channels]
        return float(worth[np.isfinite(self._fixed[index][:, open_channels])[None].repeat(len(worth), 0)].mean())

    def _table(self, customer_id: str, moments: Sequence[datetime]) -> Floats:
        """(moments, offers, channels): true probabilities, with the messages of the seven days before each moment."""
        hours = np.array([self.local_hour(customer_id, moment) for moment in moments])
        recent = np.array([self.recent_sends(customer_id, moment) for moment in moments])
        return self._probabilities(self.index[customer_id], hours, recent)

    def _probabilities(self, index: int, hours: Ints, recent: Ints) -> Floats:
        """(hours, offers, channels) for one customer; `recent` messages at each of the hours."""
        moved = hour_effect(self.people, np.array([index]), hours)[0] - self.people.fatigue[index] * recent
        return sigmoid(self._fixed[index][None] + moved[:, None, None])

    def _moments(self, customer_id: str, at: datetime, hours: int) -> list[datetime]:
        first = at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        moments = [at, *(first + timedelta(hours=later) for later in range(hours - 1))]
        waking = [moment for moment in moments if self.local_hour(customer_id, moment) % 24 in AWAKE]
        return waking or moments

    # Where and when

    def zone(self, customer_id: str) -> str:
        return ZONES[int(self.people.zone[self.index[customer_id]])]

    def local_time(self, customer_id: str, day: int, hour: int) -> datetime:
        """When it is `hour` on day `day` of the world where the customer lives, in UTC."""
        date_of_day = (self.start + day * DAY).date()
        local = datetime(date_of_day.year, date_of_day.month, date_of_day.day, hour,
                         tzinfo=_zone_info(self.zone(customer_id)))  # fmt: skip
        return local.astimezone(UTC)

    def local_hour(self, customer_id: str, at: datetime) -> int:
        """Local hour of the week, Monday 00 = 0."""
        local = at.astimezone(_zone_info(self.zone(customer_id)))
        return local.weekday() * 24 + local.hour

    def recent_sends(self, customer_id: str, at: datetime) -> int:
        """Messages that reached the customer in the seven days before `at`."""
        since = at - FATIGUE_DAYS * DAY
        return sum(since <= sent < at for sent in self._sends[self.index[customer_id]])

    def subscribed(self, customer_id: str) -> tuple[str, ...]:
        """Channels that the customer has not unsubscribed from."""
        index = self.index[customer_id]
        return tuple(channel for channel in CHANNELS if (index, channel) not in self._unsubscribed)

    # What happens

    def identities(self) -> list[Message]:
        """One `identify` a customer, at the start of the history. Traits tell a little, never the hidden effects."""
        at = self.start - HISTORY_DAYS * DAY
        return [self._identify(customer, at) for customer in self.customers]

    def _identify(self, customer: str, at: datetime) -> Message:
        index = self.index[customer]
        traits = {
            "email": f"{customer}@example.net",
            "phone": f"+1555{index:07d}",
            "timezone": self.zone(customer),
            "locale": "en",
            "age_band": AGE_BANDS[int(self.people.age[index])],
            "lead": KINDS[int(self.people.kind[index])] == "lead",
        }
        message_id = f"w-{customer}-identify"
        return {
            "type": "identify",
            "messageId": message_id,
            "userId": customer,
            "timestamp": stamp(at),
            "traits": traits,
            "context": {"timezone": self.zone(customer)},
        }

    def daily_events(self, day: int) -> list[Message]:
        """What customers do of themselves on day `day` of the world (negative: before its start), by time."""
        date_of_day = (self.start + day * DAY).date()
        made: list[Message] = []
        for index, customer in enumerate(self.customers):
            buys = background.orders_then(self.people, index, day, self._revived.get(index))
            midnight = _midnight(date_of_day, self.zone(customer))
            visitor = background.Visitor(index, customer, midnight, date_of_day.weekday(), buys)
            made += background.day_of(self.people, visitor, self.seed, day)
        return sorted(made, key=lambda message: (message["timestamp"], message["messageId"]))

    def history(self, days: int = HISTORY_DAYS) -> list[Message]:
        """The time before day 0: identities, own events, and the old mailings (random offers, no decision)."""
        made = self.identities()
        for day in range(-days, 0):
            made += self.daily_events(day)
            made += self._old_mailing(day)
        before = stamp(self.start)
        kept = [message for message in made if message["timestamp"] < before]
        return sorted(kept, key=lambda message: (message["timestamp"], message["messageId"]))

    def _old_mailing(self, day: int) -> list[Message]:
        """What was sent before there were decisions: now and then a random offer, channel and waking hour."""
        made: list[Message] = []
        date_of_day = (self.start + day * DAY).date()
        for index, customer in enumerate(self.customers):
            if (day + index) % CAMPAIGN_EVERY:
                continue
            random = np.random.default_rng([self.seed, RESPONSE, index, background.DAYS_BEFORE + day, 1])
            offer = self.offers[int(random.integers(len(self.offers)))]
            channel = offer.channels[int(random.integers(len(offer.channels)))]
            hour = AWAKE[int(random.integers(len(AWAKE)))]
            at = _midnight(date_of_day, self.zone(customer)) + timedelta(hours=hour, minutes=int(random.integers(60)))
            made += self.respond(Action(customer, offer.offer_id, channel, {"campaign_id": f"old-{day}"}), at)
        return made

    def respond(self, action: Action, at: datetime, *, delivered: bool = True) -> list[Message]:
        """What follows from a message delivered at `at`, by time; it counts for fatigue from now on.

        `delivered=False` leaves out the delivery itself, where the sender reports that. Machines act at once, people
        within days. Whoever has unsubscribed from the channel does nothing.
        """
        index = self.index[action.customer_id]
        probability = self.probability_at(action, at)
        recent = self.recent_sends(action.customer_id, at)
        random = np.random.default_rng([self.seed, RESPONSE, index, int(at.timestamp()) // 60])
        self._sends[index].append(at)
        made = _delivery(action, at) if delivered else []
        if action.channel == "email":
            made += _by_machine(random, action, at, bool(self.people.private[index]), bool(self.people.scanned[index]))
        if (index, action.channel) not in self._unsubscribed:
            made += self._by_human(random, index, action, at, probability, recent)
        return sorted(made, key=lambda message: message["timestamp"])

    def _by_human(
        self, random: np.random.Generator, index: int, action: Action, at: datetime, probability: float, recent: int
    ) -> list[Message]:
        opens, clicks, leaves = funnel(probability, recent)
        chance, leaving, delay = random.random(), random.random(), float(random.lognormal(3.6, 1.2))
        opened_at = at + timedelta(minutes=min(1.0 + delay, 36 * 60))
        made: list[Message] = []
        facts = {**action.properties, "offer_id": action.offer_id, "channel": action.channel}
        browser = messages.BROWSERS[index % 2]
        who = action.customer_id
        if chance < opens and action.channel in messages.OPENED:
            made.append(messages.track(messages.OPENED[action.channel], who, opened_at, "h", facts, browser))
        if chance < clicks:
            link = {**facts, "link_url": f"https://world.example.org/{action.offer_id}"}
            clicked_at = opened_at + timedelta(seconds=20 + int(random.integers(60)))
            made.append(messages.track(messages.CLICKED[action.channel], who, clicked_at, "h", link, browser))
        if chance < probability:
            made += self._conversion(random, index, action, opened_at + timedelta(minutes=3 + 2 * delay % 600))
        elif leaving < leaves:
            self._unsubscribed.add((index, action.channel))
            made.append(messages.track("Unsubscribed", who, opened_at + timedelta(minutes=1), "h", facts, browser))
        return made

    def _conversion(self, random: np.random.Generator, index: int, action: Action, at: datetime) -> list[Message]:
        offer = self.offers[self.offer[action.offer_id]]
        self._revived.setdefault(index, (at - self.start).days)
        lines = messages.basket(random, [offer.category], {offer.category: offer.discount})
        facts = {**action.properties, "offer_id": offer.offer_id, "channel": action.channel}
        bought = messages.order(action.customer_id, at, lines, facts)
        redeemed = {**facts, "order_id": bought["properties"]["order_id"]}
        coupon = messages.track("Coupon Redeemed", action.customer_id, at + timedelta(seconds=1), "r", redeemed)
        return [bought, coupon]


def _delivery(action: Action, at: datetime) -> list[Message]:
    facts = {**action.properties, "offer_id": action.offer_id, "channel": action.channel}
    return [messages.track(messages.DELIVERED[action.channel], action.customer_id, at, "d", facts)]


def _by_machine(
    random: np.random.Generator, action: Action, at: datetime, private: bool, scanned: bool
) -> list[Message]:
    """Privacy proxies open, scanners follow every link, both within seconds of the delivery."""
    facts = {**action.properties, "offer_id": action.offer_id, "channel": "email", "delivered_at": stamp(at)}
    made: list[Message] = []
    if private:
        opened_at = at + timedelta(seconds=1 + 3 * random.random())
        made.append(messages.track("Email Opened", action.customer_id, opened_at, "m", facts, messages.PRIVACY_RELAY))
    if scanned:
        for number, page in enumerate((action.offer_id, "unsubscribe", "imprint")):
            link = {**facts, "link_url": f"https://world.example.org/{page}"}
            clicked_at = at + timedelta(seconds=0.4 + 0.3 * number)
            made.append(
                messages.track(
                    "Email Link Clicked", action.customer_id, clicked_at, f"s{number}", link, messages.SCANNER
                )
            )
    return made


@lru_cache(maxsize=64)
def _zone_info(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@lru_cache(maxsize=4096)
def _midnight(day: date, zone: str) -> datetime:
    """When the date begins in the zone, in UTC."""
    local = datetime(day.year, day.month, day.day, tzinfo=_zone_info(zone))
    return local.astimezone(UTC)
