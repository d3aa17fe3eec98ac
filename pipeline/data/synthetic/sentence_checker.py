"""An independent check of synthetic sentences: parse the text and return the objects of the scene that it is true of.

It shares no rule with the generator. Each sentence is evaluated twice: `strict` demands a clear margin where something
is left of, larger than or nearer than something else, `loose` demands none. A sentence is kept only if both give the
same objects, so that no doubtful case becomes a label. For a sentence that names nothing there is a third reading,
`generous`: it takes "the left one" of a single object, any of several landmarks, and what is only nearly left of one.
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
_PLURALS = {f"{noun}s": noun for noun in (*_SHAPES, *_ANY)}
_COUNTS = {"two": 2, "three": 3, "four": 4}
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
    generous: bool = False


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
    return names_exactly(sentence, facts, [target])


def names_exactly(sentence: str, facts: Sequence[Fact], targets: Sequence[int]) -> bool:
    """Return whether a sentence is true of these objects and, on any reading, of nothing else."""
    return true_of(sentence, facts) == (set(targets), set(targets))


def names_nothing(sentence: str, facts: Sequence[Fact]) -> bool:
    """Return whether a sentence is true of no object, however generously it is read."""
    generous = _judge(sentence, _Reading(facts, -STRICT_PIXELS, -STRICT_RADIUS, generous=True))
    return true_of(sentence, facts) == (set(), set()) and not generous


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
    """Return the member of the lowest key if the next is beyond the margin; a superlative needs two members or more.

    Read generously, with a margin below 0, it needs one.
    """
    if len(members) < 2:
        return set(members) if margin < 0 else set()
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


def _landmarks(reading: _Reading, phrase: str) -> list[int]:
    """Return the one object that "the PHRASE" names; read generously, each of several."""
    named = _named(reading, phrase)
    return named if len(named) == 1 or reading.generous else []


def _same(reading: _Reading, shared: str, mark: str) -> set[int]:
    found: set[int] = set()
    for landmark in _landmarks(reading, mark):
        value = getattr(reading.facts[landmark], shared)
        found |= {i for i, fact in enumerate(reading.facts) if i != landmark and getattr(fact, shared) == value}
    return found


def _beside(reading: _Reading, phrase: str, side: str, mark: str) -> set[int]:
    found: set[int] = set()
    for landmark in _landmarks(reading, mark):
        limit = _AXES[side](reading.facts[landmark])
        ahead = {i: limit - _AXES[side](reading.facts[i]) for i in _named(reading, phrase) if i != landmark}
        found |= {i for i, pixels in ahead.items() if pixels > reading.pixels}
    return found


def _closest(reading: _Reading, phrase: str, mark: str) -> set[int]:
    found: set[int] = set()
    for landmark in _landmarks(reading, mark):
        members = [i for i in _named(reading, phrase) if i != landmark]
        found |= _nearest(reading, members, reading.facts[landmark])
    return found


def _nearest(reading: _Reading, members: list[int], at: Fact) -> set[int]:
    return _first_by(
        members, lambda i: math.dist((reading.facts[i].x, reading.facts[i].y), (at.x, at.y)), reading.pixels
    )


def _singular(phrase: str) -> str:
    *words, noun = phrase.split()
    if noun not in _PLURALS:
        raise UnreadableSentenceError(phrase)
    return " ".join([*words, _PLURALS[noun]])


def _all(reading: _Reading, phrase: str) -> set[int]:
    return _two_or_more(reading, set(_named(reading, _singular(phrase))))


def _all_beside(reading: _Reading, phrase: str, side: str, mark: str) -> set[int]:
    return _two_or_more(reading, _beside(reading, _singular(phrase), side, mark))


def _all_negated(reading: _Reading, phrase: str, color: str) -> set[int]:
    return _two_or_more(reading, _negated(reading, _singular(phrase), color))


def _two_or_more(reading: _Reading, members: set[int]) -> set[int]:
    """Return what a plural names: two objects or more, or read generously also a single one."""
    return members if len(members) > 1 or reading.generous else set()


def _counted(reading: _Reading, count: str, phrase: str) -> set[int]:
    members = set(_named(reading, _singular(phrase)))
    return members if len(members) == _COUNTS[count] or reading.generous else set()


def _pair(reading: _Reading, phrase: str, mark: str) -> set[int]:
    """Return both objects of "the PHRASE and the MARK"; nothing where one of them is not there or not alone."""
    parts = [_landmarks(reading, phrase), _landmarks(reading, mark)]
    return {*parts[0], *parts[1]} if all(parts) or reading.generous else set()


_PHRASE = r"(?P<phrase>[a-z]+(?: [a-z]+){0,2}?)"
_MARK = r"(?P<mark>[a-z]+(?: [a-z]+){0,2}?)"
_RULES: tuple[tuple[str, Callable[..., set[int]]], ...] = (
    (rf"all {_PHRASE} that are not (?P<color>[a-z]+)", _all_negated),
    (rf"all {_PHRASE} (?P<side>left|right) of the {_MARK}", _all_beside),
    (rf"all {_PHRASE} (?P<side>above|below|under) the {_MARK}", _all_beside),
    (rf"all {_PHRASE}", _all),
    (rf"(?P<count>two|three|four) {_PHRASE}", _counted),
    (rf"{_PHRASE} and the {_MARK}", _pair),
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
