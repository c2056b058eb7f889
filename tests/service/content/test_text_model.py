"""Whatever an endpoint does, variants come out, in time, and none of them lies."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from service.content.generate_variants import Order, generate_variants
from service.content.guardrails import Rules
from service.content.text_model import TextModel
from service.settings import TextModel as TextModelSettings
from tests.fakes.text_model_server import BEHAVIOURS, fake_text_model

OFFER = {
    "name": "Green tea",
    "facts": {"discount": {"percent": 20}, "price": {"amount": "9.90", "currency": "EUR"}},
    "requires_approval": True,
}
FALLBACKS = {
    "honest": None, "fenced": None, "repairing": None,
    "lying": "checks failed after a repair", "refusing": "refused", "empty": "empty", "prose": "not JSON",
    "truncated": "cut off", "slow": "no answer", "dripping": "no answer", "error": "answered 500",
    "not_json": "not an OpenAI-compatible", "wrong_shape": "did not fit the schema", "too_few": "1 of 3",
    "hang_up": "cannot be reached", "endless": "longer than", "endless_error": "longer than", "bomb": "was compressed",
    "redirecting": "answered 307, a redirect",
}  # fmt: skip


async def _generate(base_url: str, channel: str = "email", timeout_s: float = 20.0, angles: tuple[str, ...] = ()):
    settings = TextModelSettings(base_url=base_url, model="fake-1", timeout_s=timeout_s)
    order = Order("o1", OFFER, channel, "en", 3, angles, segment="lapsed")
    return await generate_variants(order, TextModel(settings), Rules(), "en", lambda: datetime(2026, 7, 1, tzinfo=UTC))


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_three_honest_variants_come_out_whatever_the_endpoint_does(behaviour: str) -> None:
    with fake_text_model(behaviour) as fake:
        made = await _generate(fake.base_url, timeout_s=0.5 if behaviour in ("slow", "dripping") else 20.0)
    assert len(made) == 3
    assert all(variant.failed == [] and variant.state == "pending" for variant in made)
    expected = FALLBACKS[behaviour]
    by_templates = [variant for variant in made if variant.lineage["writer"] == "templates"]
    assert bool(by_templates) == (expected is not None)
    assert all(expected in variant.lineage["fallback"] for variant in by_templates)


@pytest.mark.parametrize("behaviour", ["endless", "endless_error"])
async def test_an_answer_without_end_is_left_soon(behaviour: str) -> None:
    with fake_text_model(behaviour) as fake:
        await _generate(fake.base_url)
        assert fake.written < 16 * 2**20  # with what the sockets hold
    assert len(fake.requests) == 1


async def test_key_and_prompt_follow_no_redirect() -> None:
    with fake_text_model("redirecting") as fake:
        await _generate(fake.base_url)
    assert len(fake.requests) == 1


async def test_templates_write_all_they_have_beside_a_model() -> None:
    with fake_text_model("too_few") as fake:
        made = await _generate(fake.base_url, "call", angles=("plain",))  # of which there are two
    assert [variant.lineage["writer"] for variant in made] == ["model", "templates", "templates"]


@pytest.mark.parametrize("channel", ["email", "sms", "push", "web", "call", "webhook"])
async def test_every_channel_has_a_schema_that_the_endpoint_can_follow(channel: str) -> None:
    with fake_text_model() as fake:
        made = await _generate(fake.base_url, channel)
    assert {variant.lineage["model"] for variant in made} == {"fake-1"}
    schema = fake.requests[0]["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["additionalProperties"] is False


async def test_the_repair_names_the_checks_that_failed_and_happens_once() -> None:
    with fake_text_model("lying") as fake:
        await _generate(fake.base_url)
    assert len(fake.requests) == 2
    told = fake.requests[1]["messages"][-1]["content"]
    assert "percents" in told
    assert "75%" in told


async def test_a_repaired_variant_says_so() -> None:
    with fake_text_model("repairing") as fake:
        made = await _generate(fake.base_url)
    assert [variant.lineage["repaired"] for variant in made] == [True] * 3


async def test_prompts_hold_the_offer_and_the_segment_and_nothing_of_a_person() -> None:
    with fake_text_model() as fake:
        await _generate(fake.base_url)
    task = json.loads(fake.requests[0]["messages"][1]["content"])
    assert set(task) == {"channel", "locale", "segment", "variants", "lengths", "offer"}
    assert task["offer"]["facts"] == OFFER["facts"]


async def test_an_endpoint_that_is_not_there_is_named_and_templates_write() -> None:
    made = await _generate("http://127.0.0.1:9/v1")
    assert all("cannot be reached" in variant.lineage["fallback"] for variant in made)
