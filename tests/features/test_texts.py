"""Vectors of texts, read without the model that made them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from features.text_keys import offer_text, text_key
from features.texts import DIMENSIONS, Texts, TextVectors, add_texts, interest

TEXTS = ["bread", "wine", "toys"]
VECTORS = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0.6, 0.8, 0, 0]], np.float32)


@pytest.fixture
def held(tmp_path: Path) -> TextVectors:
    add_texts(tmp_path, "m", TEXTS, VECTORS)
    return Texts(tmp_path).read()


def test_what_was_written_is_read_by_text(held: TextVectors) -> None:
    assert held.vector("toys") == pytest.approx([0.6, 0.8, 0, 0])
    assert held.vector("cars") is None
    told = held.numbers(np.array([text_key("bread"), text_key("cars")]))
    assert told[0] == pytest.approx(np.sign(told[0]) / np.sqrt(DIMENSIONS), abs=1e-5)
    assert np.isnan(told[1]).all()


def test_a_new_version_takes_the_place_of_the_old(tmp_path: Path) -> None:
    texts = Texts(tmp_path)
    assert len(texts.read()) == 0
    first = add_texts(tmp_path, "m", TEXTS[:2], VECTORS[:2])
    assert texts.read().version == first
    assert add_texts(tmp_path, "m", TEXTS[:1], VECTORS[:1]) == first
    held = texts.read()
    second = add_texts(tmp_path, "m", TEXTS[2:], VECTORS[2:])
    assert second != first
    assert held.vector("wine") is not None  # whoever holds the old one reads on
    assert texts.held is held
    assert (texts.read().vector("bread"), texts.held.model) == (pytest.approx([1, 0, 0, 0]), "m")  # kept
    add_texts(tmp_path, "another model", TEXTS[2:], VECTORS[2:])
    assert texts.read().vector("bread") is None  # another model's vectors have nothing to do with these
    assert sorted(p.name for p in (tmp_path / "texts").iterdir()) == sorted(["current", texts.held.version])


def test_an_interest_is_the_mean_of_what_was_bought_by_orders(held: TextVectors) -> None:
    affinity = {"bread": (1.0, 3.0, 2.0), "wine": (0.0, 1.0, 9.0), "toys": (0.0, 0.0, 400.0), "cars": (1.0, 9.0, 1.0)}
    told = interest(affinity, held)
    assert told == pytest.approx([0.75, 0.25, 0, 0])
    assert interest({"cars": (1.0, 1.0, 1.0)}, held) is None


def test_means_of_many_are_exact_in_any_order(held: TextVectors) -> None:
    row, weight = np.array([0, 0, 0, 2]), np.array([3, 1, 5, 0])
    keys = np.array([text_key(text) for text in ("bread", "wine", "cars", "toys")])
    told = held.mean_numbers(row, keys, weight, 3)
    expected = (3 * held.numbers(keys[:1])[0] + held.numbers(keys[1:2])[0]) / 4
    assert told[0] == pytest.approx(expected, abs=1e-9)
    assert np.isnan(told[1:]).all()
    back = np.array([3, 2, 1, 0])
    assert (held.mean_numbers(row[back], keys[back], weight[back], 3)[0] == told[0]).all()


def test_keys_are_exact_as_floats() -> None:
    keys = [text_key(offer_text(str(i), "x")) for i in range(2000)]
    assert len(set(keys)) == 2000
    assert all(int(float(key)) == key for key in keys)
