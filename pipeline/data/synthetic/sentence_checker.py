"""An independent check of synthetic sentences: parse the text and return the objects of the scene that it is true of.

It shares no rule with the generator. Each sentence is evaluated twice: `strict` demands a clear margin where something
is left of, larger than or nearer than something else, `loose` demands none. A sentence is kept only if both give the
same single object, so that no doubtful case becomes a label.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

STRICT_PIXELS, STRICT_RADIUS = 5.0, 2.0


class Fact(Protocol):
    """What the checker needs of an object (pixels, y downwards)."""

    @property
    def shape(self) -> str: ...
    @property
    def color(self) -> str: ...
    @property
    def size(self) -> str: ...
    @property
    def x(self) -> float: ...
    @property
    def y(self) -> float: ...
    @property
    def radius(self) -> float: ...


_SIZES = {"small": "small", "little": "small", "large": "large", "big": "large"}
_COLORS = {"red", "green", "blue", "yellow", "purple", "white"}
_SHAPES = {"circle", "square", "triangle", "star"}
_ANY = {"object", "one", "shape"}
_ORDINALS = {"first": 0, "second": 1, "third": 2, "fourth": 3}
_AXES: dict[str, Callable[[Fact], float]] = {
    "left": lambda fact: fact.x,
    "right": lambda fact: -fact.x,
    "top": lambda fact: fact.y,
    "bottom": lambda fact: -fact.y,
    "above": lambda fact: fact.y,
    "below": lambda fact: -fact.y,
    "under": lambda fact: -fact.y,
}
"""The further along in the word's direction, the smaller the number."""


@dataclass(frozen=True)
class _Reading:
    facts: Sequence[Fact]
    pixels: float
    radius: float


class UnreadableSentenceError(ValueError):
    """A sentence outside the checker's grammar."""


def true_of(sentence: str, facts: Sequence[Fact]) -> tuple[set[int], set[int]]:
    """Return the objects that a sentence is true of, read strictly and read loosely.

    Raises:
        UnreadableSentenceError: when the sentence is not of the synthetic language.
    """
    strict = _judge(sentence, _Reading(facts, STRICT_PIXELS, STRICT_RADIUS))
    return strict, _judge(sentence, _Reading(facts, 0.0, 0.0))


def is_true_of_one(sentence: str, facts: Sequence[Fact], target: int) -> bool:
    """Return whether a sentence is true of the target and, on any reading, of nothing else."""
    return true_of(sentence, facts) == ({target}, {target})


def _judge(sentence: str, reading: _Reading) -> set[int]:
    text = sentence.removeprefix("the ")
    for pattern, rule in _RULES:
        if found := re.fullmatch(pattern, text):
            return rule(reading, **found.groupdict())
    raise UnreadableSentenceError(sentence)


def _named(reading: _Reading, phrase: str) -> list[int]:
    """Return the objects that a noun phrase describes."""
    *adjectives, noun = phrase.split()
    wanted: dict[str, str] = {}
    for word in adjectives:
        if word in _SIZES:
            wanted["size"] = _SIZES[word]
        elif word in _COLORS:
            wanted["color"] = word
        else:
            raise UnreadableSentenceError(phrase)
    if noun in _SHAPES:
        wanted["shape"] = noun
    elif noun not in _ANY:
        raise UnreadableSentenceError(phrase)
    return [i for i, fact in enumerate(reading.facts) if all(getattr(fact, k) == v for k, v in wanted.items())]


def _plain(reading: _Reading, phrase: str) -> set[int]:
    return set(_named(reading, phrase))


def _first_by(members: list[int], key: Callable[[int], float], margin: float) -> set[int]:
    """Return the member of the lowest key if the next is beyond the margin; a superlative needs two members or more."""
    if len(members) < 2:
        return set()
    order = sorted(members, key=key)
    return {order[0]} if key(order[1]) - key(order[0]) >= margin else set()


def _side(reading: _Reading, side: str, phrase: str) -> set[int]:
    return _first_by(_named(reading, phrase), lambda i: _AXES[side](reading.facts[i]), reading.pixels)


def _ordinal(reading: _Reading, ordinal: str, phrase: str, side: str) -> set[int]:
    places = sorted((_AXES[side](reading.facts[i]), i) for i in _named(reading, phrase))
    crowded = any(b[0] - a[0] < reading.pixels for a, b in itertools.pairwise(places))
    rank = _ORDINALS[ordinal]
    return set() if crowded or rank >= len(places) else {places[rank][1]}


def _superlative(reading: _Reading, degree: str, phrase: str) -> set[int]:
    sign = 1 if degree == "smallest" else -1
    return _first_by(_named(reading, phrase), lambda i: sign * reading.facts[i].radius, reading.radius)


def _negated(reading: _Reading, phrase: str, color: str) -> set[int]:
    return {i for i in _named(reading, phrase) if reading.facts[i].color != color}


def _landmark(reading: _Reading, phrase: str) -> int | None:
    named = _named(reading, phrase)
    return named[0] if len(named) == 1 else None


def _same(reading: _Reading, shared: str, mark: str) -> set[int]:
    landmark = _landmark(reading, mark)
    if landmark is None:
        return set()
    value = getattr(reading.facts[landmark], shared)
    return {i for i, fact in enumerate(reading.facts) if i != landmark and getattr(fact, shared) == value}


def _beside(reading: _Reading, phrase: str, side: str, mark: str) -> set[int]:
    landmark = _landmark(reading, mark)
    if landmark is None:
        return set()
    limit = _AXES[side](reading.facts[landmark])
    ahead = {i: limit - _AXES[side](reading.facts[i]) for i in _named(reading, phrase) if i != landmark}
    return {i for i, pixels in ahead.items() if pixels > reading.pixels}


def _closest(reading: _Reading, phrase: str, mark: str) -> set[int]:
    landmark = _landmark(reading, mark)
    if landmark is None:
        return set()
    at = reading.facts[landmark]
    members = [i for i in _named(reading, phrase) if i != landmark]
    return _first_by(
        members, lambda i: math.dist((reading.facts[i].x, reading.facts[i].y), (at.x, at.y)), reading.pixels
    )


_PHRASE = r"(?P<phrase>[a-z]+(?: [a-z]+){0,2}?)"
_MARK = r"(?P<mark>[a-z]+(?: [a-z]+){0,2}?)"
_RULES: tuple[tuple[str, Callable[..., set[int]]], ...] = (
    (rf"object with the same (?P<shared>color|shape) as the {_MARK}", _same),
    (rf"{_PHRASE} that is not (?P<color>[a-z]+)", _negated),
    (rf"{_PHRASE} closest to the {_MARK}", _closest),
    (rf"{_PHRASE} (?:that is |which is )?(?:to the )?(?P<side>left|right) of the {_MARK}", _beside),
    (rf"{_PHRASE} (?:that is |which is )?(?P<side>above|below|under) the {_MARK}", _beside),
    (rf"(?P<ordinal>first|second|third|fourth) {_PHRASE} from the (?P<side>left|right)", _ordinal),
    (rf"{_PHRASE} (?:on|at) the (?P<side>left|right|top|bottom)", _side),
    (rf"(?P<side>left|right|top|bottom)(?:most)? {_PHRASE}", _side),
    (rf"(?P<degree>biggest|largest|smallest) {_PHRASE}", _superlative),
    (_PHRASE, _plain),
)
