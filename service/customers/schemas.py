"""Requests about customers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from features.channels import CHANNELS

Purpose = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,49}$")]
Answers = Annotated[dict[Purpose, StrictBool | None], Field(max_length=50)]
Told = Annotated[Answers | None, Field(description='Answers by purpose, such as {"marketing": true}')]


class ConsentsIn(BaseModel):
    """Answers per channel and purpose (`marketing`, `transactional`, …); null goes back to saying nothing."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"email": {"marketing": True}, "profiling": True}]}
    )

    email: Told = None
    sms: Told = None
    push: Told = None
    web: Told = None
    call: Told = None
    webhook: Told = None
    profiling: StrictBool | None = Field(
        None, description="false: no decision, score or training uses what is known of the person"
    )

    def answers(self) -> dict[str, dict[str, bool | None]]:
        """The channels that were named."""
        channels = {name: getattr(self, name) for name in CHANNELS}
        return {name: answers for name, answers in channels.items() if answers is not None}
