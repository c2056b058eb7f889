"""Whether a style of HTML hides its text: by size, by place, or by a colour that cannot be told from its ground."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import regex

LEAST_PX = 6.0
"""Smaller letters are there for filters and machines; the smallest that people set is 8 or 9."""
LEAST_CONTRAST = 1.25
"""Text asks for 4.5 (WCAG 2.2, 1.4.3); pale greys of 1.5 can still be read by who looks for them."""
FAR_PX = 100.0
_COMMENT = regex.compile(r"/\*.*?(?:\*/|$)", regex.DOTALL)
_GONE = regex.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|opacity\s*:\s*(?:0*\.[012]|0+(?![.\d]))|"
    r"(?<![\w-])(?:max-)?(?:height|width)\s*:\s*0(?![.\d])|text-indent\s*:\s*-\d|(?:left|top)\s*:\s*-\d{3,}|"
    r"clip(?:-path)?\s*:|mso-hide|\\",  # no honest style needs CSS's escapes
    regex.IGNORECASE,
)
_LENGTH = regex.compile(r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+))(?P<unit>[a-z%]*)")
_PX = {
    "": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "em": 16.0, "rem": 16.0, "ex": 8.0, "ch": 8.0, "%": 0.16, "in": 96.0,
    "cm": 38.0, "mm": 3.8, "q": 0.95, "vw": 3.6, "vh": 6.0, "vmin": 3.6, "vmax": 6.0,
}  # fmt: skip
"""What a unit comes to on a telephone, with letters of the usual size."""
_NAMED = {
    "white": "ffffff", "black": "000000", "snow": "fffafa", "ivory": "fffff0", "ghostwhite": "f8f8ff",
    "floralwhite": "fffaf0", "whitesmoke": "f5f5f5", "azure": "f0ffff", "mintcream": "f5fffa", "honeydew": "f0fff0",
    "aliceblue": "f0f8ff", "seashell": "fff5ee", "lavenderblush": "fff0f5", "oldlace": "fdf5e6", "linen": "faf0e6",
    "lightyellow": "ffffe0", "lightcyan": "e0ffff", "cornsilk": "fff8dc", "beige": "f5f5dc", "transparent": "00000000",
}  # fmt: skip
Colour = tuple[float, float, float, float]
"""Red, green, blue and opacity, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Look:
    """The colours that an element has from those around it."""

    ink: str = "black"
    ground: str = "white"

    def within(self, style: str) -> Look:
        """The colours inside an element of this style."""
        said = _said(_COMMENT.sub("", style))
        return Look(
            said.get("color") or self.ink, said.get("background-color") or said.get("background") or self.ground
        )


PAGE = Look()


def _said(style: str) -> dict[str, str]:
    said = {}
    for one in style.split(";"):
        name, _, value = one.partition(":")
        said[name.strip().casefold()] = value.casefold().replace("!important", "").strip()
    return said


def hides(style: str, around: Look = PAGE) -> bool:
    """Whether an element of this style, where the text around it looks so, hides its text from a reader."""
    plain = _COMMENT.sub("", style)
    if _GONE.search(plain):
        return True
    said = _said(plain)
    return (
        _is_small(said.get("font-size", ""))
        or _is_small(said.get("line-height", ""), unitless=16.0)
        or any(_is_away(said.get(name, "")) for name in said if name.startswith(("margin", "padding")))
        or (bool({"color", "background", "background-color"} & said.keys()) and _cannot_be_told(around.within(plain)))
    )


def _is_small(value: str, unitless: float = 1.0) -> bool:
    size = _LENGTH.fullmatch(value)
    if size is None:
        return "(" in value  # calc(…) and its like say nothing that can be held to
    px = unitless if not size["unit"] else _PX.get(size["unit"], 1.0)
    return float(size["number"]) * px < LEAST_PX


def _is_away(value: str) -> bool:
    """Margins far to the outside, paddings far beyond any screen."""
    sizes = [float(size["number"]) * _PX.get(size["unit"], 1.0) for size in _LENGTH.finditer(value)]
    return any(size <= -FAR_PX or size >= 20 * FAR_PX for size in sizes)


def _cannot_be_told(look: Look) -> bool:
    below, above = _colour(look.ground), _colour(look.ink)
    if below is None or above is None:
        return look.ink == look.ground
    seen = _over(below, (1.0, 1.0, 1.0))
    first, second = sorted((_luminance(seen), _luminance(_over(above, seen))))
    return (second + 0.05) / (first + 0.05) < LEAST_CONTRAST


def _colour(value: str) -> Colour | None:
    text = _NAMED.get(value, value.removeprefix("#") if value.startswith("#") else "")
    if regex.fullmatch(r"[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8}", text):
        digits = "".join(digit * 2 for digit in text) if len(text) < 6 else text
        shares = [int(digits[at : at + 2], 16) / 255 for at in range(0, len(digits), 2)]
        return shares[0], shares[1], shares[2], shares[3] if len(shares) == 4 else 1.0
    written = regex.fullmatch(r"(?P<kind>rgb|hsl)a?\((?P<parts>[^()]*)\)", value)
    if written is None:
        return None
    parts = regex.split(r"[\s,/]+", written["parts"].strip())
    numbers = [_share(part, place, written["kind"]) for place, part in enumerate(parts)]
    if not 3 <= len(numbers) <= 4 or None in numbers:
        return None
    one, two, three, *opacity = [min(1.0, max(0.0, number)) for number in numbers if number is not None]
    red, green, blue = (one, two, three) if written["kind"] == "rgb" else colorsys.hls_to_rgb(one, three, two)
    return red, green, blue, opacity[0] if opacity else 1.0


def _share(part: str, place: int, kind: str) -> float | None:
    size = _LENGTH.fullmatch(part)
    if size is None:
        return None
    number = float(size["number"])
    if size["unit"] == "%":
        return number / 100
    if place == 3:
        return number
    return number % 360 / 360 if kind == "hsl" and place == 0 else number / (255 if kind == "rgb" else 100)


def _over(above: Colour, below: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = (ink * above[3] + ground * (1 - above[3]) for ink, ground in zip(above[:3], below, strict=True))
    return red, green, blue


def _luminance(colour: tuple[float, float, float]) -> float:
    """Relative luminance (WCAG 2.2)."""
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
