"""Text from data as plain LaTeX: no sign of it acts."""

from __future__ import annotations

import unicodedata

ESCAPES = {
    "\\": r"$\backslash$",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\^{}",
    "~": r"\~{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': "''",
    "`": r"\`{}",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "–": "--",
    "§": r"$\mathsection$",
    "“": "``",
    "”": "''",
    "≥": r"$\geq$",
    "Δ": r"$\Delta$",
    "✓": r"$\surd$",
    "…": r"\ldots{}",
    "≤": r"$\leq$",
    "≈": r"$\approx$",
}


def escape_latex(text: str) -> str:
    """Return text in which no sign acts: commands, math, comments and letters outside Latin 1 are all made plain."""
    text = text.replace("\n", " ")
    return "".join(_escape_letter(letter, before) for letter, before in zip(text, f" {text}", strict=False))


def _escape_letter(letter: str, before: str) -> str:
    if letter == '"' and (before.isspace() or before in "([{-"):
        return "``"  # an opening quote; LaTeX has two signs where a keyboard has one
    if letter in ESCAPES:
        return ESCAPES[letter]
    if ord(letter) < 0x7F and letter.isprintable():
        return letter
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return plain if plain.isprintable() and plain else "?"
