"""Vectors of 3GPP TS 23.038: 160/153 septets, 70/67 UTF-16 units, escapes and surrogates never split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.content.sms_segments import SURELY, sms_size


@pytest.mark.parametrize(
    ("text", "encoding", "units", "segments"),
    [
        ("", "GSM-7", 0, 0),
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("€" * 80, "GSM-7", 160, 1),
        ("€" * 81, "GSM-7", 162, 2),
        ("a" * 152 + "€" + "a" * 152, "GSM-7", 306, 3),  # the escape pair does not straddle: one septet is lost
        ("ก" * 70, "UCS-2", 70, 1),
        ("ก" * 71, "UCS-2", 71, 2),
        ("ก" * 134, "UCS-2", 134, 2),
        ("ก" * 135, "UCS-2", 135, 3),
        ("\N{GRINNING FACE}" * 35, "UCS-2", 70, 1),
        ("\N{GRINNING FACE}" * 36, "UCS-2", 72, 2),
        ("ç", "UCS-2", 1, 1),
        ("Ç^{}[]~|\\", "GSM-7", 17, 1),
    ],
)
def test_sizes(text: str, encoding: str, units: int, segments: int) -> None:
    size = sms_size(text)
    assert (size.encoding, size.units, size.segments) == (encoding, units, segments)


@given(st.text(max_size=400), st.text(max_size=20))
def test_more_text_never_takes_fewer_messages(text: str, more: str) -> None:
    assert sms_size(text + more).segments >= sms_size(text).segments


@given(st.text(st.characters(max_codepoint=127), max_size=4 * SURELY), st.sampled_from(["", "`", "^", "\x00"]))
def test_so_many_ascii_characters_surely_fit(text: str, unusual: str) -> None:
    told = unusual + text
    assert sms_size(told).segments <= -(-len(told) // SURELY)
