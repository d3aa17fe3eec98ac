"""Mirror a sentence: swap "left" and "right" where they mean a side, and nowhere else."""

from __future__ import annotations

import re

_OTHER = {
    "left": "right",
    "right": "left",
    "leftmost": "rightmost",
    "rightmost": "leftmost",
    "lefthand": "righthand",
    "righthand": "lefthand",
    "leftside": "rightside",
    "rightside": "leftside",
}
_NOT_AFTER = r"(?<![\w'’-])"
_NOT_A_SIDE_IF_NEXT = r"now|away|there|here|before|after|behind|over|up|out|off|next|beside|under|below|above|in front"
_SIDES = re.compile(
    rf"{_NOT_AFTER}(leftmost|rightmost|lefthand|righthand|leftside|rightside|left|right)"
    rf"(?:(?P<hyphen>-(?:most|hand|side))\b|(?![\w'’-]))",
    re.IGNORECASE,
)
_IDIOM = re.compile(
    rf"right\s+(?:{_NOT_A_SIDE_IF_NEXT})\b|left\s+(?:over|behind|out|alone)\b|(?:all|is|are|was)\s+right\s*$"
    r"|(?:nothing|none|one|much)\s+left\b(?!\s+(?:of|side|hand|from))|right\s+angle",
    re.IGNORECASE,
)


def swap_sides(sentence: str) -> str:
    """Return the sentence for the mirrored image.

    Whole words only, case kept: "Left man" becomes "Right man"; "bright", "left-handed", "copyright", "right now" and
    "right next to" stay as they are, since they do not name a side of the image.
    """
    idioms = [match.span() for match in _IDIOM.finditer(sentence)]

    def swap(match: re.Match[str]) -> str:
        if any(start <= match.start() < end for start, end in idioms):
            return match.group()
        word = match.group(1)
        return _like(word, _OTHER[word.lower()]) + (match.group("hyphen") or "")

    return _SIDES.sub(swap, sentence)


def _like(word: str, other: str) -> str:
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other
