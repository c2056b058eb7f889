"""Trains the send-time model: gathers hours, fits, chooses its few numbers on later data, judges, registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.channels import CHANNELS
from features.default_zone import DEFAULT_ZONE
from features.leftovers import scratch
from features.rows import CustomerRow
from models.load import ModelError, load, write_golden
from models.presence import Presence
from models.send_time import SendTimeModel
from models.week import HOURS, TINY, WEEKEND, after
from training import tracking
from training.consent_store import unprofiled
from training.datasets import CUSTOMERS, Period, fingerprint, period
from training.drift import keep_numbers
from training.feature_list import feature_list
from training.gate import Findings, Verdict, judge
from training.metrics import log_losses, resamples
from training.send_time_report import card, send_time_plots
from training.train import Job, TrainResult
from training.week_fit import (
    ANSWERS_GRID,
    OWN_GRID,
    VISITS,
    VISITS_GRID,
    fit_channel,
    fit_days,
    fit_lag,
    fit_own_gain,
    fit_presence,
    fit_tiring,
    met,
    people,
)
from training.week_hours import (
    MOMENTS,
    NEEDED,
    RESPONSE_WITHIN,
    Grids,
    chosen,
    counts_as_of,
    grids,
    moments,
    read_drawn,
    recent_sends,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NAME = "send-time"
EVENTS_NEEDED = 300
EXPLORED_BELOW = 0.5
"""An hour drawn with less is one that was tried to learn (`decisions.explore_hours` is below a half)."""
FOLDS, DRAWS = 4, 200
"""Parts of what is judged, each with its figures; resamples behind an interval."""
LATER_NEEDED = 100
"""Later orders by which the numbers of presence are chosen; with fewer, visits judge, and without those, responses."""
RESPONSES_NEEDED = 100
LATER = timedelta(days=28)
SHARPNESS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
LEVEL_PRIOR = (5.0, 20.0, 80.0)
JUDGED = 60_000
REFERENCE = 2_000
"""Customers whose hours the model's reference of its training set is made of."""
BAND = 3
TIRES = timedelta(days=7)
"""How long a message makes the next one less welcome."""


@dataclass(frozen=True, slots=True)
class Week:
    """All that training uses: orders and sends with their hours, and counts as of `cuts` by customer."""

    moments: pl.DataFrame
    as_of: Mapping[datetime, Grids]
    covered: Period
    customers: int


@dataclass(frozen=True, slots=True)
class Units:
    """What is judged: sends (`worth` is what came of them), orders or visits, each by customer and local hour.

    `drawn` is the probability with which a send's hour was drawn; NaN where none was.
    """

    kind: str
    customer: Ints
    hour: Ints
    channel: npt.NDArray[Any]
    worth: Floats
    drawn: Floats
    time: npt.NDArray[np.datetime64]

    @property
    def explored(self) -> npt.NDArray[np.bool_]:
        """Sends at another hour than the one that looked best: what came of them tells of hours, not of choices."""
        found: npt.NDArray[np.bool_] = self.drawn < EXPLORED_BELOW
        return found

    def only(self, which: npt.NDArray[np.bool_]) -> Units:
        """Those that `which` names."""
        return Units(
            self.kind,
            self.customer[which],
            self.hour[which],
            self.channel[which],
            self.worth[which],
            self.drawn[which],
            self.time[which],
        )


def train_send_time(job: Job) -> TrainResult:
    """Trains, logs and registers. With too little data: no version, and the verdict says what is needed."""
    covered = period(job.log, job.as_of)
    if covered is None:
        return _refusal("there are no events yet; bring some with `opportune ingest`")
    later = min(LATER, (covered.end - covered.first) / 4)
    middle, last = covered.end - 2 * later, covered.end - later
    week = gather(job, covered, (middle, last, covered.end))
    seen = week.moments.height
    if seen < EVENTS_NEEDED:
        return _refusal(f"{seen} of {EVENTS_NEEDED} orders and sends with a known hour")
    job.progress(f"{NAME}: fitting", 0.0)
    numbers = choose(week, middle, last)
    job.progress(f"{NAME}: fitting", 0.4)
    twin = with_answers(week, fit(week, last, numbers), last)
    job.progress(f"{NAME}: fitting", 0.7)
    model = with_answers(week, fit(week, covered.end, numbers), covered.end)
    job.progress(f"{NAME}: fitting", 1.0)
    return conclude(job, week, model, twin, last)


def _refusal(text: str) -> TrainResult:
    return TrainResult(NAME, None, False, text)


def gather(job: Job, covered: Period, cuts: tuple[datetime, ...]) -> Week:
    """Hours of everybody who may be profiled (at most CUSTOMERS), one bucket at a time."""
    excluded = list(unprofiled(job.home))
    found, counts = [pl.DataFrame(schema=MOMENTS)], {cut: list[pl.DataFrame]() for cut in cuts}
    names: list[str] = []
    drawn = read_drawn(job.home)
    for bucket in range(job.log.buckets):
        events = job.log.scan(buckets=[bucket], before=covered.end).select(NEEDED)
        known = events.filter((pl.col("received_at") <= job.as_of) & ~pl.col("customer_id").is_in(excluded)).collect()
        customers = chosen(known["customer_id"], CUSTOMERS // job.log.buckets)
        found.append(moments(known, customers, drawn))
        for cut in cuts:
            counts[cut].append(counts_as_of(known, customers, cut))
        names += customers.to_list()
        job.progress(f"{NAME}: hours", (bucket + 1) / job.log.buckets)
    held = {cut: grids(pl.concat(parts), names) for cut, parts in counts.items()}
    return Week(pl.concat(found).sort("timestamp", "customer_id"), held, covered, len(names))


def choose(week: Week, middle: datetime, last: datetime) -> SendTimeModel:
    """A model fitted before `middle` with the numbers that fit [middle, last) best; only those are used later."""
    start, grid = SendTimeModel.untrained(), week.as_of[middle]
    sends = units(week, "send", middle, last)
    judged = _judges(week, middle, last) or sends
    best = fit(week, middle, replace(start, presence=replace(start.presence, visits=VISITS)))
    best, gain = _best_own(best, grid, judged)
    tries = [("visits", value) for value in VISITS_GRID] if grid.visits.any() else []
    tries += [("answers", value) for value in ANSWERS_GRID] if grid.responses.any() else []
    for name, value in tries:
        if value != getattr(best.presence, name):
            numbers = replace(best.presence, **{name: value})  # type: ignore[arg-type]
            tried, more = _best_own(fit(week, middle, replace(best, presence=numbers)), grid, judged)
            best, gain = (tried, more) if more > gain else (best, gain)
    model = best
    if sends.worth.sum() < RESPONSES_NEEDED:
        return model
    losses = {}
    for sharp in SHARPNESS:
        ratio, _ = met(model.presence, sharp, *known(grid, model.presence))
        for prior in LEVEL_PRIOR:
            told = probabilities(replace(model, level_prior=prior), grid, sends, ratio)
            losses[sharp, prior] = float(_fractional_loss(sends.worth, told).mean())
    sharp, prior = min(losses, key=lambda pair: losses[pair])
    return replace(model, sharpness=sharp, level_prior=prior)


def _judges(week: Week, start: datetime, end: datetime) -> Units | None:
    """Later activity by which presence is judged: orders, else visits; None where there is too little of both."""
    for kind in ("order", "visit"):
        found = units(week, kind, start, end)
        if len(found.hour) >= LATER_NEEDED:
            return found
    return None


def _best_own(model: SendTimeModel, grid: Grids, judged: Units) -> tuple[SendTimeModel, float]:
    """The model with the `own` that makes what came later most likely, and the mean log-likelihood."""
    if judged.kind != "send":
        own, gain = fit_own_gain(model.presence, known(grid, model.presence), judged.customer, judged.hour)
        return replace(model, presence=replace(model.presence, own=own)), gain
    if not len(judged.hour):
        return model, 0.0
    tried = [replace(model, sharpness=1.0, presence=replace(model.presence, own=own)) for own in OWN_GRID]
    told = {index: float(gains(one, grid, judged).mean()) for index, one in enumerate(tried)}
    best = max(told, key=lambda index: told[index])
    return replace(tried[best], sharpness=model.sharpness), told[best]


def known(grid: Grids, presence: Presence) -> tuple[Floats, Floats, Floats]:
    """What `people` reads of the counts."""
    return grid.activity(presence.visits), grid.sends, grid.responses


def fit(week: Week, until: datetime, numbers: SendTimeModel | None) -> SendTimeModel:
    """The model from everything before `until`, with the chosen numbers of `numbers`, or the defaults."""
    start = numbers or SendTimeModel.untrained()
    grid = week.as_of[until]
    before = answered(week, until)
    lag = fit_lag(before["delay"].drop_nulls().to_numpy())
    numbers_of = start.presence
    presence = fit_presence(*known(grid, numbers_of), lag, numbers_of.own, numbers_of.answers, numbers_of.visits)
    channels = {}
    for (channel,), part in before.partition_by("channel", as_dict=True).items():
        if channel not in CHANNELS:
            continue
        age = ((pl.lit(until) - pl.col("timestamp")).dt.total_seconds() / 86400).alias("age")
        counted = grid.channels.get(str(channel))
        engagement = 0.0 if counted is None else float(counted.responses.sum() / max(counted.sends.sum(), 1.0))
        channels[str(channel)] = fit_channel(
            part["hour"].to_numpy(), part["worth"].to_numpy(), part.select(age)["age"].to_numpy(), presence, engagement
        )
    trained = {
        "until": until.isoformat(),
        "on": "sends, orders and visits" if float(before["worth"].sum()) >= RESPONSES_NEEDED else "orders and visits",
        "customers": week.customers,
        "sends": before.height,
        "orders": round(float(grid.orders.sum()), 1),
        "visits": round(float(grid.visits.sum()), 1),
    }
    return SendTimeModel(channels, presence, start.sharpness, start.level_prior, DEFAULT_ZONE, trained=trained)


def with_answers(week: Week, model: SendTimeModel, until: datetime) -> SendTimeModel:
    """The model with what answers to sends before `until` tell beyond presence: on which kind of day everyone, and each
    type, answers more, and how each message of the seven days before tires. As it is where too few were answered.
    """
    before = answered(week, until)
    if before["worth"].sum() < RESPONSES_NEEDED:
        return model
    before = before.sort("customer_id", "timestamp")
    recent = recent_sends(before, TIRES)
    grid = week.as_of[until]
    sends = _units("send", before, grid.place)
    ratio, types = met(model.presence, model.sharpness, *known(grid, model.presence))
    everyone, days = fit_days(sends.worth, probabilities(model, grid, sends, ratio), sends.hour, types[sends.customer])
    curves = {name: replace(curve, rate=curve.rate * everyone[WEEKEND]) for name, curve in model.channels.items()}
    model = replace(model, channels=curves, presence=replace(model.presence, days=days))
    ratio, _ = met(model.presence, model.sharpness, *known(grid, model.presence))
    return replace(model, tiring=fit_tiring(sends.worth, probabilities(model, grid, sends, ratio), recent))


def answered(week: Week, until: datetime) -> pl.DataFrame:
    """Sends of which all that came was known at `until`; of younger ones silence says nothing yet."""
    return week.moments.filter((pl.col("kind") == "send") & (pl.col("timestamp") < until - RESPONSE_WITHIN))


def units(week: Week, kind: str, start: datetime, end: datetime) -> Units:
    """Sends (answered by the end of the log), orders or visits in [start, end), at most JUDGED of them, by customers
    known at `start`.
    """
    place = week.as_of[start].place
    if kind == "send":
        end = min(end, week.covered.end - RESPONSE_WITHIN)
    part = week.moments.filter(
        (pl.col("kind") == kind) & (pl.col("timestamp") >= start) & (pl.col("timestamp") < end)
    ).sample(fraction=1.0, shuffle=True, seed=11)
    return _units(kind, part.head(JUDGED).sort("timestamp", "customer_id"), place)


def _units(kind: str, part: pl.DataFrame, place: Mapping[str, int]) -> Units:
    customer = np.array([place[name] for name in part["customer_id"]], np.int64)
    times = part["timestamp"].dt.replace_time_zone(None).to_numpy()
    hour, channel, worth = (part[name].to_numpy() for name in ("hour", "channel", "worth"))
    return Units(kind, customer, hour, channel, worth, part["drawn"].fill_null(np.nan).to_numpy(), times)


def gains(model: SendTimeModel, grid: Grids, judged: Units, personal: bool = True) -> Floats:
    """Log-likelihood of each unit, (n,): of what came of a send, or of an order's hour.

    `personal` False is the plain baseline: everyone's best hours, with the person's own level of response.
    """
    held = known(grid, model.presence)
    if judged.kind != "send":
        everyone = model.presence.everyone[judged.hour]
        chance = people(model.presence, *held)[judged.customer, judged.hour] if personal else everyone
        return np.asarray(np.log(np.maximum(chance, TINY)), np.float64)
    ratio = met(model.presence, model.sharpness, *held)[0] if personal else None
    return -_fractional_loss(judged.worth, probabilities(model, grid, judged, ratio))


def probabilities(model: SendTimeModel, grid: Grids, judged: Units, ratio: Floats | None) -> Floats:
    """P(response) of each send, (n,), as the model would give it; `ratio` None: without the person's hours, else how
    much more is met of everybody (customers, 168).
    """
    result = np.zeros(len(judged.hour))
    for channel in np.unique(judged.channel):
        here = judged.channel == channel
        curve = model.curve(str(channel))
        level = np.ones(len(grid.orders))
        if curve.engagement > 0 and str(channel) in grid.channels:
            sent, answered = grid.channels[str(channel)].sends, grid.channels[str(channel)].responses
            prior = model.level_prior * curve.engagement
            level = (prior + answered.sum(axis=1)) / (prior + curve.engagement * sent.sum(axis=1))
        result[here] = curve.rate[judged.hour[here]] * level[judged.customer[here]]
    more = 1.0 if ratio is None else ratio[judged.customer, judged.hour]
    return np.clip(result * more, 1e-6, 0.999)


def _fractional_loss(worth: Floats, chance: Floats) -> Floats:
    return worth * log_losses(np.ones_like(worth), chance) + (1 - worth) * log_losses(np.zeros_like(worth), chance)


def conclude(job: Job, week: Week, model: SendTimeModel, twin: SendTimeModel, last: datetime) -> TrainResult:
    """Judges the twin (fitted before `last`) on what came later, logs, registers the model fitted on everything."""
    grid = week.as_of[last]
    sends, orders, visits = (units(week, kind, last, week.covered.end) for kind in ("send", "order", "visit"))
    judged = sends if sends.worth.sum() >= RESPONSES_NEEDED and twin.sharpness > 0 else None
    judged = judged or next((one for one in (orders, visits) if len(one.hour) >= LATER_NEEDED), orders)
    tried = sends.only(sends.explored)
    if judged is sends and tried.worth.sum() >= RESPONSES_NEEDED:
        judged = tried  # their hours were drawn by chance, not by a model
    ours, plain = gains(twin, grid, judged), gains(twin, grid, judged, personal=False)
    present = tracking.champion(job.tracking, NAME)
    rival, reason = champion_gains(present, grid, judged) if present else (None, None)
    if not len(judged.hour):
        verdict = Verdict(False, f"not promoted: no {judged.kind} after {last:%Y-%m-%d} to judge by")
    else:
        measure = f"log-likelihood of {'responses' if judged.kind == 'send' else f'{judged.kind} hours'}"
        verdict = judge(ours, {"the overall best hours": plain}, rival, measure=measure, clusters=judged.customer,
                        champion_version=present[0] if present else None, cannot_compare=reason)  # fmt: skip
    metrics, rivals = figures(twin, grid, sends, (orders, visits))
    folds = fold_figures(twin, grid, (sends, orders, visits), (last, week.covered.end))
    version = _register(job, week, model, twin, Findings(metrics, rivals, verdict, folds))
    return TrainResult(NAME, version, verdict.promote, verdict.text, metrics, rivals)


def champion_gains(present: tuple[str, Path], grid: Grids, judged: Units) -> tuple[Floats | None, str | None]:
    """The champion's gains where it has not seen the outcome (its twin answers for the rest), or why there are none."""
    version, folder = present
    found = np.full(len(judged.hour), np.nan)
    loaded = [model for place in (folder / "twin", folder) if (model := _loaded(place)) is not None]
    if not loaded:
        return None, None  # a champion that does not load serves nobody
    for model in loaded:
        until = np.datetime64(datetime.fromisoformat(model.trained["until"]).replace(tzinfo=None))
        fair = judged.time >= until
        if fair.any():
            found[fair] = gains(model, grid, judged)[fair]
    if not np.isfinite(found).any():
        return None, f"champion {version} has learnt from all outcomes known so far; wait for newer ones"
    return found, None


def _loaded(folder: Path) -> SendTimeModel | None:
    try:
        model = load(folder)
    except ModelError:
        return None
    return model if isinstance(model, SendTimeModel) else None


def figures(
    model: SendTimeModel, grid: Grids, sends: Units, activity: Sequence[Units]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Figures on later data (`activity`: orders, visits): of the model, and of the overall best hours."""
    own = people(model.presence, *known(grid, model.presence))
    everyone = np.broadcast_to(model.presence.everyone, own.shape)
    result = []
    for hours, personal in ((own, True), (everyone, False)):
        row: dict[str, float] = {}
        for one in activity:
            if len(one.hour):
                each = gains(model, grid, one, personal)
                row |= with_interval(f"{one.kind}_log_likelihood", each, one.customer)
                row[f"{one.kind}_in_best_band"] = float(in_band(hours, one, BAND).mean())
        if len(sends.hour):
            row |= with_interval("send_log_likelihood", gains(model, grid, sends, personal), sends.customer)
            best = in_band(after(hours, model.presence.lag), sends, BAND)
            row["sends_in_best_band"] = float(best.mean())
            row["response_in_best_band"] = float(sends.worth[best].mean()) if best.any() else float("nan")
            row |= _of_explored(sends, best)
        result.append(row)
    return result[0], {"overall_best_hours": result[1]}


def with_interval(name: str, each: Floats, customers: Ints) -> dict[str, float]:
    """The mean of `each` and the ends of its 95% bootstrap interval, whole customers resampled."""
    means = np.concatenate([w @ each / w.sum(axis=1) for w in resamples(len(each), customers, DRAWS, 0)])
    low, high = np.quantile(means, [0.025, 0.975])
    return {name: float(each.mean()), f"{name}.low": float(low), f"{name}.high": float(high)}


def fold_figures(
    model: SendTimeModel, grid: Grids, later: Sequence[Units], span: tuple[datetime, datetime]
) -> list[dict[str, float]]:
    """What came later in FOLDS parts of equal length, oldest first: the model's mean log-likelihoods in each."""
    length = (span[1] - span[0]) / FOLDS
    bounds = [np.datetime64((span[0] + length * place).replace(tzinfo=None)) for place in range(FOLDS + 1)]
    found = []
    for start, end in pairwise(bounds):
        row = {"from": float(start.astype("datetime64[s]").astype(np.int64))}
        for judged in later:
            part = judged.only((judged.time >= start) & (judged.time < end))
            if len(part.hour):
                row[f"{part.kind}_log_likelihood"] = float(gains(model, grid, part).mean())
                row[f"{part.kind}s"] = float(len(part.hour))
        found.append(row)
    return found


def _of_explored(sends: Units, best: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Response of the sends whose hour was drawn by chance: all of them, and those inside the best band."""
    tried = sends.explored
    inside = tried & best
    if not inside.any():
        return {}
    return {
        "explored_sends": float(tried.sum()),
        "explored_response": float(sends.worth[tried].mean()),
        "explored_response_in_best_band": float(sends.worth[inside].mean()),
    }


def in_band(hours: Floats, judged: Units, width: int) -> npt.NDArray[np.bool_]:
    """Whether each unit lies in its customer's best `width` hours in a row of its day."""
    days = hours.reshape(len(hours), 7, 24)
    bands = np.add.reduce([np.roll(days, -step, axis=2) for step in range(width)])[:, :, : 25 - width]
    first = np.argmax(bands, axis=2)[judged.customer, judged.hour // 24]
    offset = judged.hour % 24 - first
    inside: npt.NDArray[np.bool_] = (offset >= 0) & (offset < width)
    return inside


def _register(
    job: Job,
    week: Week,
    model: SendTimeModel,
    twin: SendTimeModel,
    found: Findings,
) -> str:
    described = {
        "digest": fingerprint(week.moments.sort(list(MOMENTS))),
        "events_from": week.covered.first.isoformat(),
        "events_until": week.covered.end.isoformat(),
        **{key: value for key, value in model.trained.items() if key != "until"},
    }
    example = pl.DataFrame(
        [(channel, hour) for channel in CHANNELS for hour in range(0, HOURS, 7)],
        schema={"channel": pl.String, "hour_of_week": pl.Int64},
        orient="row",
    )
    with scratch(job.home) as made:
        folder = Path(made) / "model"
        model.save(folder)
        twin.save(folder / "twin")
        write_golden(model, folder, example)
        rows = sample_rows(week, model)
        chances = np.array(model.best_chances(rows), np.float64)
        drift = keep_numbers(model.inputs(rows), chances, folder, tracking.champion(job.tracking, NAME))
        return tracking.log_and_register(
            job.tracking,
            NAME,
            folder,
            found,
            params={
                "sharpness": model.sharpness,
                "level_prior": model.level_prior,
                "own": model.presence.own,
                "answers": model.presence.answers,
                "visits": model.presence.visits,
                "tiring": model.tiring,
                "types": len(model.presence.shares),
                "learnt_from": model.trained["on"],
                "as_of": job.as_of.isoformat(),
            },
            tags={"opportune.data": str(described["digest"])},
            figures=send_time_plots(model) | drift,
            texts={
                "card.md": card(model, found, described),
                "features.txt": feature_list([*model.columns, *model.inputs([])]),
            },
            example=example.head(5),
            data=described,
        )


def sample_rows(week: Week, model: SendTimeModel) -> list[CustomerRow]:
    """Customers as they were when training ended (at most REFERENCE of them), as rows hold their hours."""
    until = datetime.fromisoformat(model.trained["until"])
    grid = week.as_of[until]
    names = chosen(pl.Series(list(grid.place), dtype=pl.String), REFERENCE)
    return [grid.row(name, until) for name in names]
