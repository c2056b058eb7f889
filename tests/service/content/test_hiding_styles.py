"""What a style hides, however it is written; and what people really set, which hides nothing."""

from __future__ import annotations

import pytest

from service.content.guardrails import check_copy
from service.content.hiding_styles import hides


@pytest.mark.parametrize(
    "style",
    [
        "display:none", "visibility: hidden", "opacity:0", "opacity:.05", "max-height:0;", "width:0px", "mso-hide:all",
        "color:#fff", "color: WHITE !important", "color:#fefefe", "color:#ffff", "color:#0000", "color:transparent",
        "color:rgb(255 255 255)", "color:rgba(0,0,0,0)", "color:rgb(100% 100% 100%)", "color:hsl(0,0%,100%)",
        "color:hsl(120deg 100% 99%)", "color:whitesmoke", "color:#f4f4f2", "color:/**/#fff", r"c\6flor:#fff",
        "color:#333;background-color:#333333", "color:#343434;background:#333", "background:tomato;color:tomato",
        "font-size:0", "font-size:1px", "font-size:2px", "font-size:3pt", "font-size:.1em", "font-size:5%",
        "font-size:.1vw", "font-size:calc(1px - 1px)", "line-height:0", "line-height:.1", "line-height:2px",
        "margin-left:-999px", "margin:0 0 0 -9999px", "margin-top:-60em", "padding-left:9000px", "text-indent:-99px",
    ],
)  # fmt: skip
def test_what_cannot_be_seen_is_found(style: str) -> None:
    assert hides(style)


@pytest.mark.parametrize(
    "style",
    [
        "", "color:#1c1c1a", "color:#777", "color:tomato", "color:inherit", "color:rgb(28,28,26)",
        "color:hsl(9,90%,40%)",
        "color:#fff;background-color:#0a7d4f", "background-color:black;color:white", "background:tomato;color:white",
        "font-size:1em", "font-size:1.2em", "font-size:.8em", "font-size:0.9rem", "font-size:11px", "font-size:8pt",
        "font-size:90%", "font-size:small", "line-height:1", "line-height:0.9", "line-height:1.5em", "opacity:1",
        "height:1px;background-color:#ccc", "min-width:0", "width:100%", "margin:0 auto", "margin-top:-12px",
        "padding:12px 24px", "max-width:0.9em",
    ],
)  # fmt: skip
def test_what_people_set_hides_nothing(style: str) -> None:
    assert not hides(style)


BUTTON = '<table><tr><td style="background-color:#0a7d4f"><p><b style="color:#fff">Go</b></p></td></tr></table>'


@pytest.mark.parametrize(
    ("body", "hidden"),
    [
        (BUTTON, False),
        ('<div style="background:#222;color:#fff"><p style="font-size:14px">Tea</p></div>', False),
        ('<div style="background:#333"><p style="color:#333">Tea</p></div>', True),
        ('<div style="background:#333;color:#fff"><p style="background:#fff">Tea</p></div>', True),
        ('<div style="background:#333"><p>Tea</p></div><p style="color:#fff">Tea</p>', True),
        ('<p style="background:#333">Tea<p style="color:#fff">Tea</p>', True),
        ('<table><tr><td style="background:#333">Tea<td style="color:#fff">Tea</td></tr></table>', True),
        ('<div style="background:#333"><br><hr><em style="color:#fff">Tea</em></div>', False),
        (BUTTON + '<p><b style="color:#fff">Tea</b></p>', True),
    ],
)
def test_colours_are_told_from_those_around(body: str, hidden: bool) -> None:
    """White on a green cell is a button; grey on the same grey around it was taken for grey on white."""
    checks = check_copy("email", "en", {"subject": "Tea", "body": body}, {"name": "Tea", "facts": {}})
    assert [check.name for check in checks if not check.passed] == ["hidden_text"] * hidden
