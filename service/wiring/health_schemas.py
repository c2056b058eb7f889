"""The shapes of the answers about health."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from service.web.shapes import Told


class LiveOut(Told):
    """The process answers."""

    status: Literal["ok"]


class HeartbeatOut(Told):
    """A loop's last pass, with counts of its own; of `events` also how many are `pending` and `set_aside`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int]

    at: datetime | None = Field(None, description="By the service's clock, which may be simulated")
    seen: datetime | None = Field(None, description="By the wall clock")


class DecidingOut(Told):
    """How decisions are made and kept now."""

    open: list[str] = Field(description="Parts that are away and not waited for")
    spool_waits: bool = Field(description="Decisions wait on the disk, to be brought into the database")
    nowhere: bool = Field(description="Neither the database nor the disk takes them")


class TextsOut(Told):
    """Vectors of the offers' texts."""

    vectors: int
    waiting: int
    problem: str | None


class ServedOut(Told):
    """A model under an alias."""

    name: str
    alias: str | None
    version: str | None = Field(description="The one that serves")
    wanted: str | None = Field(description="The one that the registry names")
    problem: str | None


class ReadyOut(Told):
    """What is ready, and what is not. degraded: decisions are made, though something is away or late."""

    status: Literal["ready", "degraded", "not ready"]
    problems: list[str] = Field(description="In plain words, with what to do")
    heartbeats: dict[str, HeartbeatOut] = Field({}, description="By loop; absent while the database is away")
    decisions: DecidingOut
    texts: TextsOut
    models: list[ServedOut]
