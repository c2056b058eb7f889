"""The decision: gather, judge, score, weigh, draw, word, record and reserve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import xxhash

from service.clock import Clock, monotonic, new_id
from service.decisions.actions import Stages, act, listed, messages, word
from service.decisions.alike import Alike
from service.decisions.answers import answer, answer_of
from service.decisions.case import microseconds
from service.decisions.choose import choose
from service.decisions.decision_store import forget_decisions, read_decisions, read_rates
from service.decisions.draft import Draft
from service.decisions.gather import Sources, gather
from service.decisions.gather_away import gather_away
from service.decisions.ledger_lines_store import release_decisions
from service.decisions.offers_then import offers_then
from service.decisions.parts_store import Parts
from service.decisions.ports import ContentFor, Features, Models, Owners, ReadCustomers, There
from service.decisions.rates import PooledRates
from service.decisions.record import pack, unsqueeze
from service.decisions.rules import RuleBook
from service.decisions.schemas import DecisionIn
from service.decisions.score import Scorer
from service.decisions.send_hours import SEND_TIME, SendHours
from service.decisions.spool import Spool
from service.decisions.write_decisions import DecisionWriter, count
from service.errors import Problem, Unavailable
from service.offers.catalogue import Catalogue, CatalogueCache
from service.settings import Settings
from service.storage.database import Database
from service.storage.idempotency_store import Once

CHUNK = 100
"""Decisions of a batch that are read together and written in one transaction."""
ATTEMPTS, EXACT_ATTEMPTS = 50, 5
"""How often those are decided again who lost their place; and all who come behind the last place of a limit that
customers share, so that propensities are exact: of limits of one place each it would be one decision an attempt.
"""
RATES_S = 60.0
"""How old the counts may be that stages are told from."""


class Contended(Unavailable):
    """Others took every place that was chosen, again and again."""

    type = "urn:opportune:contended"


class Decider:
    """Makes decisions. One for each process; safe for threads."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        settings: Settings,
        catalogue: CatalogueCache,
        read_customers: ReadCustomers,
        features: Features,
        models: Models,
        content_for: ContentFor,
        owners: Owners | None = None,
        there: There | None = None,
    ) -> None:
        """`owners` tells who became another customer while a decision was being made, `there` who was erased."""
        rules, seed = RuleBook(settings), settings.decisions.seed
        self.sources = Sources(database, catalogue, read_customers, features, models, rules, seed, owners, there)
        self._clock = clock
        self._content_for = content_for
        self._texts: tuple[Catalogue, Alike] | None = None
        self._locale = settings.default_locale
        keep = timedelta(hours=settings.decisions.reservation_hours)
        self._writer = DecisionWriter(self.sources, settings.decisions.durable, keep)

    def decide(self, request: DecisionIn) -> dict[str, Any]:
        """One decision as the API answers it. `Invalid` names an unknown offer."""
        return self._decide([request])[0]

    def decide_many(self, requests: Sequence[DecisionIn], keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Decisions in the order of their requests; later ones see what earlier ones reserved.

        `keys` make it safe to ask again after a crash: a key that was decided before gets the decision on record.
        """
        return self.decide_batch(requests, keys and [xxhash.xxh3_128_hexdigest(key.encode()) for key in keys])

    def decide_batch(self, requests: Sequence[DecisionIn], ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """`decide_many` under ids that say which are the same again."""
        answers: list[dict[str, Any]] = []
        for start in range(0, len(requests), CHUNK):
            end = start + CHUNK
            answers += self.decide_some(requests[start:end], start, None if ids is None else ids[start:end])
        return answers

    def decide_each(
        self, requests: Sequence[DecisionIn], names: Sequence[Once | None] | None = None
    ) -> list[dict[str, Any] | Exception]:
        """Decisions that do not know of each other, made together: one that fails fails alone, with its reason.

        `names` are the ids of those that have one; one asked for `again` gets what is on record, if it is there.
        """
        now = self._clock.now()
        answers: dict[int, dict[str, Any] | Exception] = {}
        ids = None if names is None else [new_id(now) if one is None else one.name for one in names]
        waiting = list(range(len(requests)))
        for attempt in range(ATTEMPTS):
            try:
                if names is not None and not answers:
                    answers.update(self._on_record(names))
                    waiting = [index for index in waiting if index not in answers]
                if waiting:
                    self._attempt(requests, waiting, answers, now, ids, attempt < EXACT_ATTEMPTS)
            except Unavailable as away:  # alone they would fare no better
                answers.update(dict.fromkeys(waiting, away))
            except Exception as failure:  # one may be the cause: the others are decided without it
                if len(waiting) == 1:
                    answers[waiting[0]] = failure
                for index in waiting if len(waiting) > 1 else ():
                    alone = None if names is None else [names[index]]
                    answers[index] = self.decide_each([requests[index]], alone)[0]
            waiting = [index for index in waiting if index not in answers]
            if not waiting:
                break
        taken = Contended("others took every place that was chosen; try again")
        return [answers.get(index, taken) for index in range(len(requests))]

    def _attempt(
        self,
        requests: Sequence[DecisionIn],
        waiting: Sequence[int],
        answers: dict[int, dict[str, Any] | Exception],
        now: datetime,
        ids: Sequence[str] | None,
        exact: bool,
    ) -> None:
        """Answers those whose reservations fit, and those that ask for what is not there."""
        wrong: dict[int, Problem] = {}
        before = self.sources.database.mark()
        names = None if ids is None else [ids[index] for index in waiting]
        drafts = self.draft([requests[index] for index in waiting], now, ids=names, refused=wrong)
        late = self._writer.write(drafts, now, before, exact)
        answers.update((waiting[place], problem) for place, problem in wrong.items())
        right = [index for place, index in enumerate(waiting) if place not in wrong]
        answers.update(
            (index, answer(draft)) for index, draft in zip(right, drafts, strict=True) if draft.decision_id not in late
        )

    def decide_some(
        self, requests: Sequence[DecisionIn], first: int, ids: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """A part of a batch, in one transaction; `first` is the place of its first request."""
        if ids is None:
            return self._decide(requests, first)
        found = self._made(ids)
        fresh = {i: r for i, r in zip(ids, requests, strict=True) if i not in found}
        if fresh:
            found.update(zip(fresh, self._decide(list(fresh.values()), first, list(fresh)), strict=True))
        return [found[one] for one in ids]

    def _on_record(self, names: Sequence[Once | None]) -> dict[int, dict[str, Any]]:
        """By place, the answers of those that were made when they were asked for first."""
        found = self._made([one.name for one in names if one is not None and one.again])
        return {place: found[one.name] for place, one in enumerate(names) if one is not None and one.name in found}

    def _made(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The answers on record under these ids."""
        if not ids:
            return {}
        with self.sources.database.read() as connection:
            parts, rows = Parts(connection), read_decisions(connection, ids)
            records = {row.decision_id: unsqueeze(row.record, parts) for row in rows}
            offers = offers_then(connection, records)
        return {row.decision_id: answer_of(row, records[row.decision_id], offers[row.decision_id]) for row in rows}

    def _decide(
        self, requests: Sequence[DecisionIn], first: int | None = None, ids: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """Drafts, then writes those whose reservations still fit; the rest is drafted again with what it lost to."""
        now = self._clock.now()
        answers: dict[int, dict[str, Any]] = {}
        waiting = list(range(len(requests)))
        for attempt in range(ATTEMPTS):
            names = None if ids is None else [ids[index] for index in waiting]
            before = self.sources.database.mark()
            drafts = self.draft([requests[index] for index in waiting], now, first, names)
            refused = self._writer.write(drafts, now, before, attempt < EXACT_ATTEMPTS)
            for index, draft in zip(waiting, drafts, strict=True):
                if draft.decision_id not in refused:
                    answers[index] = answer(draft)
            waiting = [index for index in waiting if index not in answers]
            if not waiting:
                return [answers[index] for index in range(len(requests))]
        raise Contended("others took every place that was chosen; try again")

    def draft(
        self,
        requests: Sequence[DecisionIn],
        now: datetime,
        first: int | None = None,
        ids: Sequence[str] | None = None,
        words: bool = True,
        refused: dict[int, Problem] | None = None,
    ) -> list[Draft]:
        """Complete decisions, not yet written; without `words`, actions have no content. The rest: see `gather`."""
        return self._complete(gather(self.sources, requests, now, first, ids, refused), words)

    def _complete(
        self, drafts: list[Draft], words: bool = True, rates: Callable[[], PooledRates] | None = None
    ) -> list[Draft]:
        """Scores, chooses and words drafts that are gathered."""
        scorer = Scorer(self.sources.models, rates or self._rates, self.sources.last)
        scorer.score(drafts)
        for draft in drafts:
            chosen = choose(draft.case, draft.eligible, draft.probabilities, draft.goals, draft.uplift)
            draft.candidates, draft.left_out, draft.costs = chosen
        # Part by part over all of them: what a part reads stays in the processor's cache, which halves its time.
        made = [(draft, listed(draft)) for draft in drafts]
        asked = [(draft, [draft.eligible[one.place] for one in some]) for draft, some in made if draft.request.explain]
        told = iter(scorer.reasons(asked))
        hours = SendHours(self.sources.models.get(SEND_TIME))
        sent = [messages(draft, some) for draft, some in made]
        hours.plan([message for some in sent for message in some])
        stages = Stages(self._known_rates if rates is None else rates)
        for (draft, some), mine in zip(made, sent, strict=True):
            times = {(message.channel, message.ends_at): hours.at(message) for message in mine}
            act(draft, some, times, next(told) if draft.request.explain else (), stages)
        for draft, some in made if words else ():
            word(draft, some, self._content_for, self._locale)
        return drafts

    def decide_away(
        self, requests: Sequence[DecisionIn], spool: Spool, first: int | None = None
    ) -> list[dict[str, Any] | Exception]:
        """Decides without the database: see `gather_away`. Records and reservations wait on the disk."""
        refused: dict[int, Problem] = {}
        gathered = gather_away(self.sources, requests, self._clock.now(), first, refused)
        drafts = self._complete(gathered, rates=self._last_rates)
        lasting = [draft for draft in drafts if not draft.request.dry_run]
        spool.append([(pack(draft), [line.row() for line in self._writer.lines(draft)]) for draft in lasting])
        count(lasting)
        made = iter(drafts)
        return [refused[index] if index in refused else answer(next(made)) for index in range(len(requests))]

    def rehearse(self, requests: Sequence[DecisionIn]) -> None:
        """Makes decisions, writes them and takes them back: nothing of them is left, no rule counts them."""
        self._writer.rehearse(self.draft(requests, self._clock.now()))

    def forget(self, decision_ids: Sequence[str]) -> None:
        """Takes back decisions that came too late for their askers, with what they reserved: each request counts once
        in the log, as what it was answered with."""
        with self.sources.database.write() as connection:
            forget_decisions(connection, decision_ids)
            release_decisions(connection, decision_ids)

    def look_around(self) -> None:
        """Reads what would be needed if the database went away now: the catalogue, and now and then the rates."""
        with self.sources.database.read() as connection:
            self.sources.catalogue.current(connection)
        self._known_rates()
        self.sources.last.forget_old()

    def _known_rates(self) -> PooledRates:
        """The rates as they were a minute ago at most."""
        last = self.sources.last
        if last.rates is None or monotonic() - last.rates_at > RATES_S:
            return self._rates()
        return last.rates

    def _rates(self) -> PooledRates:
        with self.sources.database.read() as connection:
            counts = read_rates(connection)
            catalogue = self.sources.catalogue.current(connection)
        last, now = self.sources.last, microseconds(self._clock.now())
        last.rates, last.rates_at = PooledRates(counts, alike=self._alike(catalogue), now=now), monotonic()
        return last.rates

    def _alike(self, catalogue: Catalogue) -> Alike:
        if self._texts is None or self._texts[0] is not catalogue:
            self._texts = (catalogue, Alike(catalogue.by_id))
        return self._texts[1]

    def _last_rates(self) -> PooledRates:
        """The rates read last; with none, the same for every offer."""
        return self.sources.last.rates or PooledRates({}, unread=True)
