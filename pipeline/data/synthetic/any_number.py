"""Sentences about none, one or several objects of a synthetic scene, for a set in gRefCOCO's layout.

None: "the red star" where no star is red; "the blue circle left of the square" where every blue circle is clearly right
of it. Several: "all circles", "the two red objects", "all stars above the white square", "the red circle and the blue
star". As in `expressions.py`, a sentence is generated only where it is true, or false, by a clear margin, and the
finished text is checked by the separate rules of `pipeline.data.synthetic.sentence_checker`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from pipeline.data.synthetic.expressions import CLEAR_PIXELS, describe
from pipeline.data.synthetic.scenes import COLORS, RADII, SHAPES, SceneObject
from pipeline.data.synthetic.sentence_checker import names_exactly, names_nothing

_FLAVOURS = ("location", "appearance", "relation")
_COUNTS = {2: "two", 3: "three", 4: "four"}
_RELATIONS = {"left of": (-1.0, 0.0), "right of": (1.0, 0.0), "above": (0.0, -1.0), "below": (0.0, 1.0)}
"""Words -> direction (x, y) in which the described object lies from the landmark."""
_MOST_SENTENCES = 2

Objects = tuple[SceneObject, ...]
Attributes = Mapping[str, str]
_Offer = tuple[float, str]
"""Weight of a sentence, and the sentence."""


@dataclass(frozen=True, kw_only=True)
class NamedObjects:
    """Objects of a scene by position, none, one or several, and the sentences that name exactly them."""

    targets: tuple[int, ...]
    sentences: list[str]


def describe_any_number(objects: Objects, random: np.random.Generator) -> list[NamedObjects]:
    """Return up to three refs of a scene, with one, with several and without a target, each sentence checked."""
    made = (_one(objects, random), _several(objects, random), _none(objects, random))
    refs = [ref for ref in made if ref is not None]
    for ref in refs:
        for sentence in ref.sentences:
            true = names_exactly(sentence, objects, ref.targets) if ref.targets else names_nothing(sentence, objects)
            if not true:
                raise AssertionError(f"the generator wrote a false sentence: {sentence!r} of {ref.targets}")
    return refs


def _one(objects: Objects, random: np.random.Generator) -> NamedObjects | None:
    target = int(random.integers(len(objects)))
    sentences = describe(str(random.choice(_FLAVOURS)), objects, target, int(random.integers(1, 3)), random)
    return NamedObjects(targets=(target,), sentences=sentences) if sentences else None


def _several(objects: Objects, random: np.random.Generator) -> NamedObjects | None:
    by_targets: dict[tuple[int, ...], list[_Offer]] = {}
    for targets, offer in _about_several(objects):
        by_targets.setdefault(targets, []).append(offer)
    if not by_targets:
        return None
    targets = list(by_targets)[int(random.integers(len(by_targets)))]
    return NamedObjects(targets=targets, sentences=_drawn(by_targets[targets], random))


def _none(objects: Objects, random: np.random.Generator) -> NamedObjects | None:
    offers = list(_about_nothing(objects))
    return NamedObjects(targets=(), sentences=_drawn(offers, random)) if offers else None


def _drawn(offers: list[_Offer], random: np.random.Generator) -> list[str]:
    """Return one or two different sentences, drawn by weight."""
    count = min(len(offers), int(random.integers(1, _MOST_SENTENCES + 1)))
    weights = np.array([weight for weight, _ in offers])
    chosen = random.choice(len(offers), size=count, replace=False, p=weights / weights.sum())
    return list(dict.fromkeys(offers[int(index)][1] for index in chosen))


def _phrase(attributes: Attributes, *, plural: bool = False) -> str:
    words = [attributes[name] for name in ("size", "color") if name in attributes]
    return " ".join([*words, attributes.get("shape", "object") + ("s" if plural else "")])


def _matching(objects: Objects, attributes: Attributes) -> list[int]:
    return [i for i, entry in enumerate(objects) if all(getattr(entry, k) == v for k, v in attributes.items())]


def _combinations() -> Iterator[dict[str, str]]:
    """Yield every choice of one or more attributes and their values."""
    values = {"size": list(RADII), "color": list(COLORS), "shape": list(SHAPES)}
    for count in (1, 2, 3):
        for names in combinations(values, count):
            for chosen in product(*(values[name] for name in names)):
                yield dict(zip(names, chosen, strict=True))


def _beyond(objects: Objects, index: int, landmark: int, direction: tuple[float, float]) -> float:
    """Return how many pixels an object lies beyond a landmark in a direction."""
    x, y = direction
    return x * (objects[index].x - objects[landmark].x) + y * (objects[index].y - objects[landmark].y)


def _landmarks(objects: Objects) -> Iterator[tuple[int, str]]:
    """Yield each object that a phrase with its shape names alone, with the shortest such phrase."""
    for index, entry in enumerate(objects):
        for names in (("shape",), ("color", "shape"), ("size", "color", "shape")):
            attributes = {name: getattr(entry, name) for name in names}
            if _matching(objects, attributes) == [index]:
                yield index, _phrase(attributes)
                break


def _about_several(objects: Objects) -> Iterator[tuple[tuple[int, ...], _Offer]]:
    for attributes in _combinations():
        group = _matching(objects, attributes)
        if len(group) < 2:
            continue
        phrase = _phrase(attributes, plural=True)
        yield tuple(group), (2.0, f"all {phrase}")
        if len(group) in _COUNTS:
            yield tuple(group), (2.0, f"the {_COUNTS[len(group)]} {phrase}")
        if "color" not in attributes:
            for color in sorted({objects[i].color for i in group}):
                others = tuple(i for i in group if objects[i].color != color)
                if len(others) > 1:
                    yield others, (1.0, f"all {phrase} that are not {color}")
        yield from _several_beyond(objects, group, phrase)
    yield from _pairs(objects)


def _several_beyond(objects: Objects, group: list[int], phrase: str) -> Iterator[tuple[tuple[int, ...], _Offer]]:
    for landmark, mark in _landmarks(objects):
        for words, direction in _RELATIONS.items():
            pixels = {i: _beyond(objects, i, landmark, direction) for i in group if i != landmark}
            inside = tuple(i for i, beyond in pixels.items() if beyond >= CLEAR_PIXELS)
            if len(inside) > 1 and all(beyond <= 0 for i, beyond in pixels.items() if i not in inside):
                yield inside, (0.5, f"all {phrase} {words} the {mark}")


def _pairs(objects: Objects) -> Iterator[tuple[tuple[int, ...], _Offer]]:
    named = list(_landmarks(objects))
    for (first, a), (second, b) in combinations(named, 2):
        yield (first, second), (1.0, f"the {a} and the {b}")


def _about_nothing(objects: Objects) -> Iterator[_Offer]:
    for attributes in _combinations():
        group = _matching(objects, attributes)
        if not group:
            # A sentence whose every word fits something in the image is the harder one.
            near = all(any(getattr(entry, k) == v for entry in objects) for k, v in attributes.items())
            weight = 1.0 if near and len(attributes) > 1 else 0.05
            yield weight, f"the {_phrase(attributes)}"
            yield weight / 2, f"all {_phrase(attributes, plural=True)}"
        else:
            yield from _nothing_beyond(objects, group, _phrase(attributes))


def _nothing_beyond(objects: Objects, group: list[int], phrase: str) -> Iterator[_Offer]:
    for landmark, mark in _landmarks(objects):
        for words, direction in _RELATIONS.items():
            pixels = [_beyond(objects, i, landmark, direction) for i in group if i != landmark]
            if pixels and max(pixels) <= -CLEAR_PIXELS:
                yield 0.3, f"the {phrase} {words} the {mark}"
