"""Fits the send-time model's parts: types of weeks, delays, channels' curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from models.channel_curves import ChannelCurve, best_hour
from models.presence import Presence, own_presence, ratio_of, type_weights
from models.week import HOURS, TINY, WEEKEND, after, exposure, spread

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TYPES = 6
CUSTOMERS_A_TYPE = 40
ROUNDS = 40
SHAPED = 10.0
"""Observations of everyone that a customer's week is shrunk with before types are looked for."""
PROFILE_PRIOR = 30.0
"""Observations of everyone's profile that each type's is shrunk with."""
CELL_PRIOR = 200.0
"""Sends of the channel's expected rate that each hour's is shrunk with."""
HALF_LIFE_DAYS = 120.0
SHAPE = 0.5
TIRING, GIVE_OR_TAKE = 0.1, 0.1
"""What a message is expected to take off the logarithm of the next one's chance, before anything is known."""
DAYS_PRIOR = 80.0
"""Expected responses that what everyone, and then each type, answers by kind of day is shrunk with."""
OWN_GRID = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
ACTIVE_FROM = 1.0
"""Events from which a customer helps to tell types."""
ANSWERS = 0.25
VISITS = 0.25
VISITS_GRID = (0.0, 0.1, 0.25, 0.5, 1.0)
ANSWERS_GRID = (0.15, 0.25, 0.5, 1.0)
ACTIVITY_NEEDED = 200
"""Orders (and visits, as many as they count for) of all customers from which types of weeks are made of these alone."""


def fit_lag(delays: Floats) -> Floats:
    """The distribution (24,) of whole hours until a response; the usual one where fewer than 50 are known."""
    known = delays[np.isfinite(delays) & (delays >= 0) & (delays < 24)]
    usual = 0.5 ** np.arange(1, 25)
    counts = np.bincount(known.astype(np.int64), minlength=24) + 50 * usual / usual.sum()
    return np.asarray(counts / counts.sum(), np.float64)


def fit_presence(
    activity: Floats,
    sends: Floats,
    responses: Floats,
    lag: Floats,
    own: float = 40.0,
    answers: float = ANSWERS,
    visits: float = 0.0,
) -> Presence:
    """Types of weeks by expectation maximization over customers' counts, all (customers, 168).

    Responses tell whose week is of which type; what a type is like is told by people's own activity alone (orders, and
    visits at the weight `visits`), where there is enough: hours that nobody sent in have no responses, and many a
    response is little more than a glance. Without it, a type is what responses make it, and they count whole.
    """
    active = (activity.sum(axis=1) + responses.sum(axis=1)) >= ACTIVE_FROM
    enough = activity.sum() >= ACTIVITY_NEEDED
    answers = answers if enough else 1.0
    exposed, told = exposure(sends, lag), responses if not enough else np.zeros_like(responses)
    everyone = _everyone(activity, told, exposed)
    count = int(min(TYPES, active.sum() // CUSTOMERS_A_TYPE))
    if count < 2:
        return Presence(everyone[None, :], np.ones(1), own, lag, answers, visits)
    kept = activity[active], responses[active], exposed[active]
    shapes = own_presence(
        Presence(everyone[None, :], np.ones(1), SHAPED, lag, answers), np.ones((len(kept[0]), 1)), *kept
    )
    weight = np.log1p(kept[0].sum(axis=1) + kept[1].sum(axis=1))
    presence = Presence(_seeds(shapes, everyone, weight, count), np.full(count, 1 / count), own, lag, answers, visits)
    for _ in range(ROUNDS):
        weights = type_weights(presence, *kept)
        profiles = np.stack(
            [
                _profile(part, kept[0], told[active], kept[2], profile, everyone)
                for part, profile in zip(weights.T, presence.profiles, strict=True)
            ]
        )
        shares = (weights.sum(axis=0) + 1) / (len(weights) + count)
        settled = float(np.abs(profiles - presence.profiles).max()) < 1e-6
        presence = Presence(profiles, shares, own, lag, answers, visits)
        if settled:
            break
    return presence


def _everyone(activity: Floats, responses: Floats, exposed: Floats) -> Floats:
    """The presence of all together, from an even one on."""
    flat = np.full(HOURS, 1 / HOURS)
    found, all_of_them = flat, np.ones(len(activity))
    for _ in range(ROUNDS if responses.any() else 1):
        found = _profile(all_of_them, activity, responses, exposed, found, flat)
    return found


def _profile(
    weight: Floats, activity: Floats, responses: Floats, exposed: Floats, profile: Floats, prior: Floats
) -> Floats:
    """A type's presence (168,) anew: what happened in each hour over how much could, of customers by `weight`.

    Activity could happen at any hour, responses where their sends made them possible: the rate that makes them most
    likely, a step at a time (Hunter 2004, "MM algorithms for generalized Bradley-Terry models", eq. 3).
    """
    happened, could = weight @ activity, np.full(HOURS, float(weight @ activity.sum(axis=1)))
    if responses.any():
        happened = happened + weight @ responses
        could = could + (weight * responses.sum(axis=1) / np.maximum(exposed @ profile, TINY)) @ exposed
    rate = (spread(happened) + PROFILE_PRIOR * prior) / (spread(could) + PROFILE_PRIOR)
    return np.asarray(rate / rate.sum(), np.float64)


def _seeds(shapes: Floats, everyone: Floats, weight: Floats, count: int) -> Floats:
    """Starting profiles: customers far from one another (k-means++ with the farthest point, so no chance in it)."""
    roots = np.sqrt(shapes)
    chosen = [int(np.argmax(((roots - np.sqrt(everyone)) ** 2).sum(axis=1) * weight))]
    distance = ((roots - roots[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(distance * weight)))
        distance = np.minimum(distance, ((roots - roots[chosen[-1]]) ** 2).sum(axis=1))
    return np.asarray(0.5 * shapes[chosen] + 0.5 * everyone, np.float64)


def people(presence: Presence, activity: Floats, sends: Floats, responses: Floats) -> Floats:
    """Everybody's own presence (customers, 168)."""
    exposed = exposure(sends, presence.lag)
    return own_presence(presence, type_weights(presence, activity, responses, exposed), activity, responses, exposed)


def met(
    presence: Presence, sharpness: float, activity: Floats, sends: Floats, responses: Floats
) -> tuple[Floats, Floats]:
    """`presence.ratio_of` everybody (customers, 168), and the weights of their types (customers, types)."""
    exposed = exposure(sends, presence.lag)
    types = type_weights(presence, activity, responses, exposed)
    return ratio_of(presence, sharpness, own_presence(presence, types, activity, responses, exposed), types), types


def fit_days(worth: Floats, expected: Floats, hour: Ints, types: Floats) -> tuple[Floats, Floats]:
    """By how much everyone answers more on working days and at weekends than expected, (2,), and by how much each type
    more than everyone, (types, 2).

    Of sends: what came of them, `worth` (n,), over the `expected` response, by the local `hour` of the week and the
    weights of the customer's `types` (n, types). A gamma prior of mean 1 holds back what few responses tell. How much
    a type answers in all is the customer's own level's to say.
    """
    kinds = np.eye(2)[WEEKEND[hour]]
    came, due = (types * worth[:, None]).T @ kinds, (types * expected[:, None]).T @ kinds
    everyone = _over(came.sum(axis=0), due.sum(axis=0))
    return everyone, _over(came, due * everyone)


def _over(came: Floats, due: Floats) -> Floats:
    """What came over what was due (…, 2), with as much due as came in all; shrunk to 1."""
    due = due * (came.sum(axis=-1, keepdims=True) / np.maximum(due.sum(axis=-1, keepdims=True), TINY))
    return np.asarray((DAYS_PRIOR + came) / (DAYS_PRIOR + due), np.float64)


def fit_own_gain(
    presence: Presence, known: tuple[Floats, Floats, Floats], customer: Ints, hour: Ints
) -> tuple[float, float]:
    """How many observations the types weigh in a person, the most likely for later orders (customer, hour), and the
    mean log-likelihood of those.
    """
    if not len(customer):
        return presence.own, 0.0
    gains = {}
    for own in OWN_GRID:
        tried = people(replace(presence, own=own), *known)
        gains[own] = float(np.log(np.maximum(tried[customer, hour], TINY)).mean())
    best = max(gains, key=lambda own: gains[own])
    return best, gains[best]


def fit_channel(hour: Ints, worth: Floats, age_days: Floats, presence: Presence, engagement: float) -> ChannelCurve:
    """A channel's response by hour of sending: rates with forgetting, shrunk to everyone's presence after it."""
    weight = 0.5 ** (age_days / HALF_LIFE_DAYS)
    sent = np.bincount(hour, weights=weight, minlength=HOURS).astype(np.float64)
    gained = np.bincount(hour, weights=weight * worth, minlength=HOURS).astype(np.float64)
    usual = (gained.sum() + 1) / (sent.sum() + 20)
    shape = after(presence.everyone, presence.lag) ** SHAPE
    shape /= (shape @ sent) / sent.sum() if sent.sum() > 0 else shape.mean()
    rate = (spread(gained) + CELL_PRIOR * usual * shape) / (spread(sent) + CELL_PRIOR)
    rate = np.clip(rate, 1e-6, 0.95)
    return ChannelCurve(rate, float(usual), engagement, best_hour(rate))


def fit_tiring(worth: Floats, expected: Floats, recent: Floats) -> float:
    """What each of `recent` messages takes off the logarithm of a response's chance; never below 0.

    The slope of a Poisson regression of what came of sends, `worth` (n,), on how many messages (n,) went to the same
    customer just before, given the response `expected` (n,) of that customer, channel and hour; shrunk to what is
    expected. Who answers much and is sent much is expected to, and so tells nothing here.
    """
    level, slope = 0.0, TIRING
    for _ in range(ROUNDS):
        rate = expected * np.exp(level - slope * recent)
        miss = worth - rate
        gain = np.array([miss.sum(), -(recent * miss).sum() - (slope - TIRING) / GIVE_OR_TAKE**2])
        cross = -(recent * rate).sum()
        curve = np.array([[rate.sum(), cross], [cross, (recent**2 * rate).sum() + 1 / GIVE_OR_TAKE**2]])
        step = np.clip(np.linalg.solve(curve, gain), -1.0, 1.0)
        level, slope = level + float(step[0]), slope + float(step[1])
        if np.abs(step).max() < 1e-8:
            break
    return max(slope, 0.0)
