"""Copy from any OpenAI-compatible endpoint. What it returns is never trusted: the checks decide.

Prompts carry the offer's facts and the segment's name, never anything of a person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from service.content.fields import CHANNEL_FIELDS
from service.content.guardrails import Check
from service.content.merge_tags import CUSTOMER_TAGS, LINK_TAGS, known_paths
from service.content.template_writer import Draft

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

    from service.settings import TextModel as TextModelSettings

PROMPT_VERSION = "copy-1"
MAX_FIELD = 50_000
MAX_TOKENS = 4_000
_SYSTEM = """\
You write marketing copy for one offer. A person reviews every text before it is sent.
Rules:
- Write in the language of the locale, naturally, in complete words.
- Every number, price, percent, date, code and link must come from the offer's facts. Prefer the merge tags over \
writing figures out.
- Use only these merge tags, in Liquid syntax: {tags}. `{{{{ customer.first_name | default: "…" }}}}` may have a \
default. No other tags or filters.
- No claims beyond the facts (free, best price, guaranteed, limited stock), no urgency unless the facts have ends_at.
- Keep to the lengths. E-mail bodies are simple HTML (p, a, strong, em, ul, li) and hold \
<a href="{{{{ unsubscribe_url }}}}">. Other fields are plain text.
Answer with JSON that fits the schema, nothing else."""


class TextModelFailure(Exception):
    """The endpoint gave nothing usable; the message says why, in words fit for a variant's lineage."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What to write: nothing here is about a person."""

    channel: str
    locale: str
    segment: str | None
    angles: tuple[str, ...]
    offer: Mapping[str, Any]
    values: Mapping[str, Any]


class TextModel:
    """A client of one endpoint. Each call ends within `timeout_s` and keeps a bounded answer, whatever the endpoint
    does."""

    def __init__(self, settings: TextModelSettings) -> None:
        self._settings = settings
        self.name = settings.model

    async def write(self, brief: Brief) -> list[Draft]:
        """One draft for each of the brief's angles; raises TextModelFailure."""
        return _drafts(await self._ask(_opening(brief), brief), brief)

    async def repair(self, brief: Brief, faulty: Sequence[tuple[Draft, Sequence[Check]]]) -> list[Draft]:
        """The faulty drafts again, with what was wrong with each; raises TextModelFailure."""
        told = [
            {
                "angle": draft.angle,
                **draft.fields,
                "faults": [
                    f"{check.name}{f' in {check.field}' if check.field else ''}: {check.detail}" for check in checks
                ],
            }
            for draft, checks in faulty
        ]
        narrowed = Brief(
            brief.channel,
            brief.locale,
            brief.segment,
            tuple(draft.angle for draft, _ in faulty),
            brief.offer,
            brief.values,
        )
        again = f"These variants broke rules. Write each again without its faults:\n{orjson.dumps(told).decode()}"
        return _drafts(await self._ask([*_opening(narrowed), {"role": "user", "content": again}], narrowed), narrowed)

    async def _ask(self, messages: Sequence[ChatCompletionMessageParam], brief: Brief) -> str:
        from openai import AsyncOpenAI, OpenAIError

        from service.content.bounded_answers import AnswerRefused, bounded_client

        secret = self._settings.api_key
        client = AsyncOpenAI(
            base_url=self._settings.base_url or "https://api.openai.com/v1",
            api_key=secret.get_secret_value() if secret else "none",
            timeout=self._settings.timeout_s,
            max_retries=1,
            http_client=bounded_client(self._settings.timeout_s),
        )
        try:
            async with asyncio.timeout(self._settings.timeout_s), client:
                answer = await client.chat.completions.create(
                    model=self._settings.model,
                    messages=list(messages),
                    max_tokens=MAX_TOKENS,
                    response_format={
                        "type": "json_schema",
                        "json_schema": {"name": "copy_variants", "strict": True, "schema": schema(brief.channel)},
                    },
                )
        except TimeoutError as error:
            raise TextModelFailure(f"no answer within {self._settings.timeout_s:g} s") from error
        except AnswerRefused as error:
            raise TextModelFailure(str(error)) from error
        except OpenAIError as error:
            raise TextModelFailure(_why(error)) from error
        except ValueError as error:  # a body that is not JSON
            raise TextModelFailure("the answer was not an OpenAI-compatible one") from error
        return _content(answer)


def schema(channel: str) -> dict[str, Any]:
    """The JSON schema of an answer: a list of variants, each with the channel's fields."""
    properties = {"angle": {"type": "string"}} | {
        rule.name: {"type": "string", "description": f"at most {rule.longest} characters"}
        for rule in CHANNEL_FIELDS[channel]
    }
    item = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {
        "type": "object",
        "properties": {"variants": {"type": "array", "items": item}},
        "required": ["variants"],
        "additionalProperties": False,
    }


def _opening(brief: Brief) -> list[ChatCompletionMessageParam]:
    own = sorted(path for path in known_paths(brief.values) if path.startswith("offer.") and _has(path, brief.values))
    tags = ", ".join(f"{{{{ {path} }}}}" for path in [*own, *CUSTOMER_TAGS, *LINK_TAGS])
    task = {
        "channel": brief.channel,
        "locale": brief.locale,
        "segment": brief.segment,
        "variants": [{"angle": angle} for angle in brief.angles],
        "lengths": {rule.name: rule.longest for rule in CHANNEL_FIELDS[brief.channel]},
        "offer": {key: brief.offer.get(key) for key in ("name", "description", "category", "facts", "ends_at")},
    }
    content = orjson.dumps(task, default=str).decode()
    return [{"role": "system", "content": _SYSTEM.format(tags=tags)}, {"role": "user", "content": content}]


def _has(path: str, values: Mapping[str, Any]) -> bool:
    found: Any = values
    for part in path.split(".")[1:]:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found not in (None, "")


def _content(answer: ChatCompletion) -> str:
    """The text of the first choice; refusals, cut and empty answers are failures."""
    choices = getattr(answer, "choices", None)
    if not choices or getattr(choices[0], "message", None) is None:
        raise TextModelFailure("the answer was not an OpenAI-compatible one")
    choice = choices[0]
    if choice.message.refusal:
        raise TextModelFailure("the model refused")
    if choice.finish_reason == "length":
        raise TextModelFailure("the answer was cut off")
    if choice.finish_reason == "content_filter":
        raise TextModelFailure("the answer was filtered")
    if not isinstance(choice.message.content, str) or not choice.message.content.strip():
        raise TextModelFailure("the answer was empty")
    return choice.message.content


def _drafts(content: str, brief: Brief) -> list[Draft]:
    """The variants of an answer, at most as many as asked for; those that do not fit the schema are left out."""
    try:
        document = orjson.loads(_bare_json(content))
    except orjson.JSONDecodeError as error:
        raise TextModelFailure("the answer was not JSON") from error
    items = document.get("variants") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise TextModelFailure("the answer did not fit the schema")
    drafts = [draft for item, angle in zip(items, brief.angles, strict=False) if (draft := _draft(item, angle, brief))]
    if not drafts:
        raise TextModelFailure("the answer did not fit the schema")
    return drafts


def _draft(item: Any, angle: str, brief: Brief) -> Draft | None:
    if not isinstance(item, dict):
        return None
    rules = CHANNEL_FIELDS[brief.channel]
    fields = {rule.name: item[rule.name] for rule in rules if isinstance(item.get(rule.name), str)}
    if any(rule.required and not fields.get(rule.name) for rule in rules):
        return None
    if any(len(text) > MAX_FIELD for text in fields.values()):
        return None
    return Draft({name: text for name, text in fields.items() if text}, angle, brief.locale)


def _bare_json(content: str) -> str:
    """Some servers wrap JSON in a Markdown fence."""
    text = content.strip()
    if text.startswith("```"):
        text = text.split("\n", 1)[-1].rsplit("```", 1)[0]
    return text


def _why(error: Exception) -> str:
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    if isinstance(error, APITimeoutError):
        return "no answer in time"
    if isinstance(error, APIStatusError) and 300 <= error.status_code < 400:
        return f"the endpoint answered {error.status_code}, a redirect, which is not followed: set base_url to its end"
    if isinstance(error, APIStatusError):
        return f"the endpoint answered {error.status_code}"
    if isinstance(error, APIConnectionError):
        return "the endpoint cannot be reached"
    return "the answer was not an OpenAI-compatible one"
