"""What the routes and the pages of content share: reading offers and variants, making and storing new ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from service.clock import Clock
from service.content.generate_variants import Order, generate_variants, named
from service.content.guardrails import Rules
from service.content.review_variant import Reviewer, current_offer
from service.content.schemas import GenerateIn
from service.content.text_model import TextModel
from service.content.variant import Variant
from service.content.variant_store import (
    add_to_trail,
    add_variants,
    find_variant,
    list_variants,
    read_variants,
    trail_of,
)
from service.errors import NotFound
from service.storage.database import Connection, Database
from service.storage.idempotency_store import Once
from service.web.threads import in_thread


class ContentDesk:
    """The collaborators of content in one place; `changed` is called after each change."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        rules: Rules,
        model: TextModel | None,
        default_locale: str,
        changed: Callable[[], None],
    ) -> None:
        self.database = database
        self.clock = clock
        self.rules = rules
        self.model = model
        self.default_locale = default_locale
        self.changed = changed
        self.reviewer = Reviewer(database, clock.now, rules, changed)

    def offer(self, offer_id: str) -> Mapping[str, Any]:
        """The document of a live offer; NotFound otherwise."""
        with self.database.read() as connection:
            found = current_offer(connection, offer_id)
        if found is None:
            raise NotFound(f"there is no offer {offer_id!r}; put it with PUT /v1/offers/{offer_id}")
        return found

    async def generate(self, order: GenerateIn, who: str, once: Once | None = None) -> list[Variant]:
        """Makes variants and stores them. `once`: what this very request made before its process died comes again."""
        if once is not None and once.again and (made := await in_thread(self._made, named(once.name, order.n))):
            return made
        offer = await in_thread(self.offer, order.offer_id)
        wanted = Order(order.offer_id, offer, order.channel, order.locale, order.n, tuple(order.angles), order.segment)
        name = None if once is None else once.name
        made = await generate_variants(wanted, self.model, self.rules, self.default_locale, self.clock.now, name)
        await in_thread(self._store, made, who)
        return made

    def _made(self, variant_ids: list[str]) -> list[Variant]:
        with self.database.read() as connection:
            return read_variants(connection, variant_ids)

    def _store(self, variants: list[Variant], who: str) -> None:
        with self.database.write() as connection:
            add_variants(connection, variants)
            for variant in variants:
                _note_start(connection, variant, who)
        self.changed()

    def variant(self, variant_id: str) -> tuple[Variant, list[dict[str, Any]]]:
        """A variant with its trail; NotFound otherwise."""
        with self.database.read() as connection:
            found = find_variant(connection, variant_id)
            if found is None:
                raise NotFound(f"there is no variant {variant_id!r}")
            return found, trail_of(connection, [variant_id])[variant_id]

    def variants(self, **filters: Any) -> list[Variant]:
        """Variants by state, channel, locale, offer_id, oldest first (see `variant_store.list_variants`)."""
        with self.database.read() as connection:
            return list_variants(connection, **filters)


def _note_start(connection: Connection, variant: Variant, who: str) -> None:
    add_to_trail(connection, variant.variant_id, variant.variant_id, variant.created_at, who, "generate", {})
    if variant.state == "approved":
        detail = {"reason": "the offer does not require approval"}
        add_to_trail(
            connection, f"{variant.variant_id}-a", variant.variant_id, variant.created_at, "rules", "approve", detail
        )
