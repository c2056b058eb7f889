"""What decisions ask of others; wiring gives it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from features.rows import CustomerRow
from service.decisions.case import Customer
from service.offers.offer import Offer
from service.storage.database import Connection


class Person(Protocol):
    """What the customers' slice knows of a person; `customer_id` is the present one of the id asked for."""

    @property
    def customer_id(self) -> str: ...
    @property
    def known(self) -> bool: ...
    @property
    def timezone(self) -> str | None: ...
    @property
    def locale(self) -> str | None: ...
    @property
    def traits(self) -> Mapping[str, Any]: ...
    @property
    def segments(self) -> tuple[str, ...]: ...
    @property
    def consents(self) -> Mapping[str, Any]: ...
    @property
    def profiling(self) -> bool: ...


ReadCustomers = Callable[[Connection, Sequence[str]], Mapping[str, Person]]
"""Every id asked for with what is known of that person (`known` false: nothing)."""
Owners = Callable[[Connection, Sequence[str]], Mapping[str, str]]
"""The present id of each customer who has another one by now."""
There = Callable[[Connection, Sequence[str]], Collection[str]]
"""Those of these customers of whom anything is known still: the others were erased."""
Gone = Callable[[Connection, Mapping[str, datetime]], Collection[str]]
"""Those of these customers who may have been erased since the time beside each."""
ChooseContent = Callable[[Offer, str], "dict[str, Any] | None"]
"""(offer, channel) -> approved content rendered for one customer, or None where there is none."""
ContentFor = Callable[[Customer, str], ChooseContent]
"""(customer, locale) -> what chooses that customer's content, for the time of one decision."""


class Features(Protocol):
    """The online features (features.rows.OnlineFeatures)."""

    def read(self, customer_ids: Sequence[str], as_of: datetime) -> Sequence[CustomerRow | None]: ...


class Models(Protocol):
    """The served models (models.registry.ServedModels); None where no version is served."""

    def get(self, name: str) -> Any | None: ...

    def stands_in(self, name: str) -> bool:
        """Whether what serves is the version before one that was refused."""
        ...
