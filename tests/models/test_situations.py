"""The situation of a request as inputs, and the layer that learns from them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.layered import OWN, SHARED_WIDTH, begun, first_priors, new_layer, with_situations
from models.online_layer import Lessons, OnlineLayer, Weights
from models.situations import Situations, inputs, names_of

NAMES = names_of({"page": ["home", "cart"], "placement": ["web.top"], "step": ["2"], "member": ["true"]})


def test_values_are_inputs_where_a_request_says_them() -> None:
    assert NAMES == ("member=true", "page=cart", "page=home", "placement=web.top", "step=2")
    told = [
        ("web.top", {"page": "cart", "member": True, "step": 2}),
        ("web.low", {"page": "CART", "member": "true", "placement": "web.top", "step": 2.5}),
        ("web.top", {"page": ["cart"], "member": None, "step": {}}),
    ]
    assert inputs(NAMES, told).tolist() == [[1, 1, 0, 1, 1], [1, 0, 0, 0, 0], [0, 0, 0, 1, 0]]
    assert inputs((), told).shape == (3, 0)


@given(st.integers(1, 16), st.integers(1, 5), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_one_asked_about_alone_has_the_same_bits(names: int, offers: int, customers: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    said = (random.random((customers, names)) < 0.5).astype(np.float64)
    effects = random.normal(size=(offers, names))
    together = Situations(NAMES, said, effects).residual()
    assert together == pytest.approx(said @ effects.T)
    for customer in range(customers):
        alone = Situations(NAMES, said[customer : customer + 1], effects).residual()
        assert np.array_equal(alone, together[customer : customer + 1])


def lessons_of(label: list[float], said: list[float], only: bool) -> Lessons:
    n = len(label)
    shared, own = np.zeros((n, SHARED_WIDTH)), np.zeros((n, 1 + len(OWN)))
    shared[:, 0] = own[:, 0] = 1.0
    shared, own = with_situations(shared, own, np.array(said)[:, None], np.full(n, only))
    return Lessons(shared, own, ["a"] * n, np.full(n, -2.0), np.array(label), np.ones(n))


def test_what_the_model_has_learnt_from_moves_only_the_situations() -> None:
    layer = begun(b"", ("page=cart",))
    learnt = layer.learn(lessons_of([1.0] * 30 + [0.0] * 30, [1.0] * 30 + [0.0] * 30, True))
    assert not learnt.weights.shared[:-1].any()
    assert not learnt.weights.own[:, :-1].any()
    assert learnt.weights.shared[-1] > 0.3
    assert learnt.weights.own[0, -1] > 0.05
    also = layer.learn(lessons_of([1.0] * 30 + [0.0] * 30, [1.0] * 30 + [0.0] * 30, False))
    assert also.weights.own[0, 0] != 0.0


def test_a_layer_in_situations_goes_on_from_what_the_model_knows() -> None:
    """Where no situation is told it learns the same as the layer without."""
    plain, wide = begun(new_layer().to_bytes()), begun(new_layer().to_bytes(), ("page=cart",))
    told = lessons_of([1.0, 0.0, 0.0], [0.0, 0.0, 0.0], False)
    narrow = replace(told, shared=told.shared[:, :-1], own=told.own[:, :-1])
    one, other = plain.learn(narrow).tuned(first_priors()), wide.learn(told).tuned(first_priors(1))
    assert other.weights.shared[:-1] == pytest.approx(one.weights.shared)
    assert other.weights.own[:, :-1] == pytest.approx(one.weights.own)
    assert not other.weights.shared[-1]
    assert not other.weights.own[:, -1].any()


def test_layers_come_back_to_the_bit() -> None:
    learnt = begun(b"", NAMES[:1]).learn(lessons_of([1.0, 0.0], [1.0, 0.0], False)).tuned(first_priors(1))
    again = OnlineLayer.from_bytes(learnt.to_bytes())
    assert again.weights.situations == NAMES[:1]
    assert again.alike(learnt)
    assert not again.alike(new_layer())
    assert again.to_bytes() == learnt.to_bytes()
    assert Weights.from_bytes(learnt.weights.to_bytes()).situations == NAMES[:1]


def test_weights_kept_before_there_were_situations_have_none() -> None:
    held = io.BytesIO()
    np.savez(held, shared=np.ones(3), own=np.ones((1, 2)), offers=np.array(["a"]))
    assert Weights.from_bytes(held.getvalue()).situations == ()


def test_situations_come_once() -> None:
    with pytest.raises(ValueError, match="already"):
        begun(b"", NAMES).in_situations(NAMES, np.ones(5), np.ones(5))
