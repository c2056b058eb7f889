"""New texts of the catalogue get their vectors beside the service, which decides without them until then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from features.text_keys import offer_text
from models import embedding
from service.offers.offers_store import put_offers
from service.offers.schemas import OfferIn
from service.settings import Settings
from service.wiring.health import readiness
from service.wiring.parts import Parts, build
from service.wiring.text_watch import TextWatch

ENCODES = """
import json, sys, numpy as np
from pathlib import Path
from features.texts import add_texts, alone
texts = json.load(sys.stdin)
with alone(Path(sys.argv[1])):
    add_texts(Path(sys.argv[1]), "m", texts, np.eye(len(texts), 8, dtype=np.float32))
"""


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    monkeypatch.setattr("service.wiring.text_watch.identity", lambda: "m")
    made = build(Settings(home=tmp_path))
    yield made
    made.close()


@pytest.fixture
def watch(parts: Parts) -> Iterator[Callable[[str], TextWatch]]:
    """Makes watches whose child runs a script; they are closed at the end."""
    made: list[TextWatch] = []

    def make(script: str) -> TextWatch:
        home, command = parts.settings.home.absolute(), (sys.executable, "-c", script)
        made.append(TextWatch(parts.database, parts.catalogue, parts.texts, home, command))
        return made[-1]

    yield make
    for one in made:
        one.close()


def put(parts: Parts, *names: str) -> None:
    offers = {name: OfferIn.model_validate({"name": name, "category": "drinks"}).document() for name in names}
    with parts.database.write() as connection:
        put_offers(connection, offers, parts.clock.now())


def told(parts: Parts) -> dict[str, bool]:
    with parts.database.read() as connection:
        return {offer.offer_id: offer.info.text is not None for offer in parts.catalogue.current(connection).offers}


def passes(watch: TextWatch, until: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not until():
        assert time.monotonic() < end, watch.status()
        watch.run_pass()
        time.sleep(0.02)


def test_new_offers_have_vectors_after_a_while_and_the_next_decision_knows(
    parts: Parts, watch: Callable[[str], TextWatch]
) -> None:
    put(parts, "tea", "wine")
    assert told(parts) == {"tea": False, "wine": False}
    watching = watch(ENCODES)
    watching.run_pass()
    assert watching.status() == {"vectors": 0, "waiting": 3, "problem": None}
    passes(watching, lambda: watching.status()["waiting"] == 0)
    assert told(parts) == {"tea": True, "wine": True}
    put(parts, "water")
    assert told(parts) == {"tea": True, "wine": True, "water": False}
    passes(watching, lambda: told(parts)["water"])
    assert parts.texts.held.vector("drinks") is not None


def test_without_an_embedder_it_is_named_and_nothing_fails(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> str:
        raise embedding.EmbeddingMissing(embedding.INSTALL)

    monkeypatch.setattr("service.wiring.text_watch.identity", absent)
    put(parts, "tea")
    parts.text_watch.run_pass()
    _, report = readiness(parts)
    assert "pip install" in report["texts"]["problem"]
    assert not [problem for problem in report["problems"] if problem.startswith("texts")]


def test_a_failing_child_is_told_and_tried_again_later(parts: Parts, watch: Callable[[str], TextWatch]) -> None:
    put(parts, "tea")
    failing = watch("import sys; print('no room', file=sys.stderr); sys.exit(1)")
    passes(failing, lambda: failing.failing)
    assert "no room" in failing.status()["problem"]
    failing.run_pass()
    assert failing._child is None  # not before the pause is over


def test_closing_ends_the_child(parts: Parts, watch: Callable[[str], TextWatch]) -> None:
    put(parts, "tea")
    slow = watch("import time; time.sleep(600)")
    slow.run_pass()
    child = slow._child
    assert child is not None
    slow.close()
    assert child._process.returncode is not None


def test_an_offers_text_is_its_name_and_description() -> None:
    assert offer_text("Tea", "Green") == "Tea. Green"
