"""What decisions are made with: approved words, models that learn, and the ladder down to memory and disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from service.content.choose_content import ContentLibrary
from service.content.content_desk import ContentDesk
from service.content.guardrails import Rules as CopyRules
from service.content.text_model import TextModel
from service.customers.customer_store import read_customers, those_there
from service.customers.erasure_store import gone_since
from service.customers.identity_store import owners_of
from service.customers.unsubscribe import token_length
from service.decisions.case import Customer
from service.decisions.learn_outcomes import LearningModels
from service.decisions.ports import ChooseContent
from service.decisions.rank_actions import Decider
from service.decisions.spool import Spool
from service.decisions.steady import SteadyDecider
from service.settings import Settings
from service.wiring.ground import Ground

_USUAL_ID = 36
"""Characters of a customer's id, as a UUID has them: links to unsubscribe are as long as it makes them."""
UnsubscribeUrl = Callable[[str, str], str]
"""(customer id, channel) -> the link of a message."""


@dataclass(frozen=True)
class Deciding:
    """The parts that make decisions, and the desk where their words are approved."""

    library: ContentLibrary
    desk: ContentDesk
    learning: LearningModels
    decider: Decider
    spool: Spool
    steady: SteadyDecider


def put_deciding_together(ground: Ground, unsubscribe_url: UnsubscribeUrl) -> Deciding:
    """Tries the database once, and remembers what would be needed without it."""
    settings, database, clock = ground.settings, ground.database, ground.clock
    copy_rules, locale = _copy_rules(settings), settings.default_locale
    library = ContentLibrary(database, unsubscribe_url, locale, copy_rules, may_ask=lambda: steady.database_answers())
    learning = LearningModels(ground.models, database)
    learning.refresh()
    decider = Decider(
        database,
        clock,
        settings,
        ground.catalogue,
        read_customers,
        ground.online,
        learning,
        _content_from(library),
        owners=owners_of,
        there=those_there,
    )
    spool = Spool(ground.home / "spool", owners_of, gone_since, clock)
    steady = SteadyDecider(decider, spool, settings.decisions.time_budget_ms / 1_000)
    steady.get_ready()
    desk = ContentDesk(database, clock, copy_rules, _text_model(settings), locale, library.refresh)
    return Deciding(library, desk, learning, decider, spool, steady)


def _content_from(library: ContentLibrary) -> Callable[[Customer, str], ChooseContent]:
    """What chooses the approved words of an offer, by customer and locale."""

    def content_for(customer: Customer, locale: str) -> ChooseContent:
        reader = library.for_customer(
            customer.customer_id, locale, customer.timezone, customer.traits, customer.segments
        )
        return lambda offer, channel: reader.choose(offer.offer_id, offer.document, channel)

    return content_for


def _copy_rules(settings: Settings) -> CopyRules:
    return CopyRules(
        settings.content.max_sms_segments,
        settings.content.sms_opt_out,
        settings.content.unsubscribe_in_body,
        ZoneInfo(settings.default_timezone),
        len(f"{settings.base_url}/u/") + token_length("0" * _USUAL_ID, "sms"),
    )


def _text_model(settings: Settings) -> TextModel | None:
    named = settings.text_model.base_url or settings.text_model.api_key
    return TextModel(settings.text_model) if named else None
