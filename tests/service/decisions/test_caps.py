from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from service.decisions.caps import Full, excluded_until, full, message_cap_full, recent_messages
from service.decisions.case import DAY_US, Entry, MessageCap
from service.decisions.windows import Window, window

NOW = 1_800_000_000_000_000
AT = datetime.fromtimestamp(NOW / 1e6, UTC)


def sent(days_ago: float, channel: str = "email", expires_in: float | None = None, message: bool = True) -> Entry:
    at = NOW - round(days_ago * DAY_US)
    expires = None if expires_in is None else NOW + round(expires_in * DAY_US)
    return Entry(at, expires, channel, "o", message, True)


def sliding(days: float, now: int = NOW) -> Window:
    return window(now, AT, days, None, ZoneInfo("UTC"))


def reached_by(entries: list[Entry], cap: MessageCap, channel: str, placement: str = "default") -> Full | None:
    within = window(NOW, AT, cap.per_days, cap.calendar, ZoneInfo("UTC"))
    return message_cap_full(entries, cap, channel, placement, within, NOW)


def test_two_of_two_until_the_older_leaves_the_window() -> None:
    cap = MessageCap(None, 2, 7)
    assert reached_by([sent(3)], cap, "email") is None
    reached = reached_by([sent(3), sent(1, "sms")], cap, "email")
    assert reached is not None
    assert (reached.used, reached.max) == (2, 2)
    assert reached.until == NOW + 4 * DAY_US


def test_a_reservation_comes_back_when_it_expires() -> None:
    cap = MessageCap(None, 1, 7)
    reached = reached_by([sent(0, expires_in=2)], cap, "email")
    assert reached is not None
    assert reached.until == NOW + 2 * DAY_US
    assert reached_by([sent(1, expires_in=-0.1)], cap, "email") is None


def test_the_window_is_open_at_its_old_end() -> None:
    cap = MessageCap(None, 1, 7)
    assert reached_by([sent(7)], cap, "email") is None
    assert reached_by([sent(7 - 1e-9)], cap, "email") is not None


def test_a_cap_of_a_channel_counts_that_channel_only() -> None:
    cap = MessageCap("sms", 1, 7)
    assert reached_by([sent(1)], cap, "sms") is None
    assert reached_by([sent(1, "sms")], cap, "sms") is not None
    assert reached_by([sent(1, "sms")], cap, "email") is None


def test_what_is_shown_on_the_web_is_no_message_for_a_cap_over_all() -> None:
    cap = MessageCap(None, 1, 7)
    assert reached_by([sent(1, "web")], cap, "email") is None
    assert reached_by([sent(1)], cap, "web") is None
    assert reached_by([sent(1, "web")], MessageCap("web", 1, 7), "web") is not None
    assert recent_messages([sent(1, "web"), sent(1), sent(9), sent(2, message=False)], 7, NOW) == 1


def test_messages_tire_from_when_they_are_planned_until_days_after() -> None:
    told = {ago: recent_messages([sent(ago)], 7, NOW) for ago in (7, 7 - 1e-9, 0, -3, -3 - 1e-9)}
    assert told == {7: 0, 7 - 1e-9: 1, 0: 1, -3: 1, -3 - 1e-9: 0}


def test_of_two_others_of_a_group_the_one_that_stands_longest_in_the_way_is_named() -> None:
    def shown(offer: str, days_ago: float, group: str = "g", expires_in: float | None = None) -> Entry:
        return sent(days_ago, expires_in=expires_in)._replace(offer_id=offer, group=group)

    both = [shown("late", 1), shown("early", 4), shown("own", 0), shown("other", 0, "h"), shown("old", 5)]
    for entries in (both, both[::-1]):
        assert excluded_until(entries, "own", "g", 5, NOW) == ("late", NOW + 4 * DAY_US)
    assert excluded_until([shown("kept", 0, expires_in=2)], "own", "g", 5, NOW) == ("kept", NOW + 2 * DAY_US)
    assert excluded_until([shown("gone", 1, expires_in=-0.1)], "own", "g", 5, NOW) is None
    assert excluded_until([shown("old", 5)], "own", "g", 5, NOW) is None
    assert excluded_until([shown("near", -7.9)], "own", "g", 5, NOW) == ("near", NOW + round(12.9 * DAY_US))
    assert excluded_until([shown("far", -8)], "own", "g", 5, NOW) is None


@given(
    st.lists(st.tuples(st.floats(0, 20), st.one_of(st.none(), st.floats(-2, 5))), max_size=12),
    st.integers(0, 4),
    st.floats(0.1, 15),
)
def test_until_is_the_first_moment_with_a_place(
    times: list[tuple[float, float | None]], most: int, days: float
) -> None:
    entries = [sent(ago, expires_in=expires) for ago, expires in times]
    reached = full(entries, most, sliding(days), NOW)
    if reached is None:
        return
    if most == 0:
        assert reached.until is None
        return
    assert reached.until is not None
    before = reached.until - 1
    assert full(entries, most, sliding(days, reached.until), reached.until) is None
    assert full(entries, most, sliding(days, before), before) is not None
