"""Text in the one form that words are looked for in, however it was typed."""

from __future__ import annotations

import unicodedata

import regex

PIECE = regex.compile(r"\s+|\X")
_ONE = str.maketrans({**dict.fromkeys("’‘ʼ´`", "'"), "\u2010": "-"})


def plain(text: str) -> str:
    """Each letter, apostrophe, hyphen and space in one form.

    A single line break is a space too; more of them part what stands around them.
    """
    return "".join(plain_piece(piece) for piece in PIECE.findall(text))


def plain_piece(piece: str) -> str:
    """`plain` of what `PIECE` matched."""
    if piece.isspace():
        return " " if piece.count("\n") < 2 else "\n"
    return one_form(piece).translate(_ONE)


def one_form(text: str) -> str:
    """NFKC, which writes the Thai and Lao vowel am in two; here it stays one."""
    whole = unicodedata.normalize("NFKC", text)
    return whole.replace("\u0e4d\u0e32", "\u0e33").replace("\u0ecd\u0eb2", "\u0eb3")
