"""Writers have their turns in the order in which they came."""

from __future__ import annotations

import threading
import time

from service.storage.turns import Turns


def test_who_waits_has_it_before_who_gives_it_back_and_asks_again() -> None:
    """With `threading.Lock` it was the other way round, portion after portion."""
    turns, order = Turns(), list[str]()
    waiting = threading.Event()

    def one_writer(name: str) -> None:
        waiting.set()
        assert turns.acquire(30)
        order.append(name)
        turns.release()

    assert turns.acquire(1)
    others = []
    for name in ("first", "second", "third"):
        waiting.clear()
        others.append(threading.Thread(target=one_writer, args=(name,)))
        others[-1].start()
        waiting.wait(30)
        while len(turns._waiting) < len(others):
            time.sleep(0.001)
    turns.release()
    assert turns.acquire(30)
    order.append("again")
    turns.release()
    for other in others:
        other.join(30)
    assert order == ["first", "second", "third", "again"]


def test_who_has_waited_long_enough_goes_and_keeps_nobody_from_it() -> None:
    turns = Turns()
    assert turns.acquire(1)
    assert not turns.acquire(0.01)
    turns.release()
    assert turns.acquire(0.01)
    turns.release()


def test_only_one_has_it_at_a_time_and_nobody_waits_for_good() -> None:
    turns, inside, most, had = Turns(), 0, 0, 0
    count = threading.Lock()

    def ask(patience_s: float) -> None:
        nonlocal inside, most, had
        for _ in range(200):
            if not turns.acquire(patience_s):
                continue
            with count:
                inside += 1
                most = max(most, inside)
                had += 1
            time.sleep(0)
            with count:
                inside -= 1
            turns.release()

    threads = [threading.Thread(target=ask, args=(patience,)) for patience in (30, 30, 0.0001, 0.0001)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (most, inside) == (1, 0)
    assert had >= 400  # the patient ones each time
    assert turns.acquire(0)
