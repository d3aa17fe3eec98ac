"""Sentences about one object of a synthetic scene, in three flavours like the three real sets.

`location` gives a position ("left blue circle", "second square from the right"), `appearance` never does ("biggest
star", "the red one"), `relation` is longer and names a landmark ("the small red triangle below the green square"). A
sentence is generated only where it is true of its object by a clear margin and false of every other object by a clear
margin. `pipeline.data.synthetic.sentence_checker` checks the finished text by separate rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise, product

import numpy as np

from pipeline.data.synthetic.scenes import SceneObject

CLEAR_PIXELS = 7.0
"""An unambiguous difference of position; a difference below half of it is ambiguous."""
CLEAR_RADIUS = 2.5

SIZE_WORDS = {"small": ("small", "little"), "large": ("large", "big")}
_ORDINALS = ("first", "second", "third", "fourth")
_OFFSETS: dict[str, Callable[[SceneObject], float]] = {
    "left": lambda entry: -entry.x,
    "right": lambda entry: entry.x,
    "top": lambda entry: -entry.y,
    "bottom": lambda entry: entry.y,
}
_RELATIONS = {
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
    "top": ("above",),
    "bottom": ("below", "under"),
}
_Offer = tuple[float, str]
"""Weight of a kind of sentence, and the sentence."""


def describe(
    flavour: str, objects: tuple[SceneObject, ...], target: int, count: int, random: np.random.Generator
) -> list[str]:
    """Return up to `count` different sentences that are true only of `objects[target]`."""
    offers = list(dict.fromkeys(_OFFERS[flavour](objects, target, random)))
    if not offers:
        return []
    weights = np.array([weight for weight, _ in offers])
    chosen = random.choice(len(offers), size=min(count, len(offers)), replace=False, p=weights / weights.sum())
    return list(dict.fromkeys(offers[int(index)][1] for index in chosen))


def _phrases(entry: SceneObject, random: np.random.Generator, noun: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield noun phrases of an object and the attributes that each of them names."""
    for with_size, with_color, with_shape in product((False, True), repeat=3):
        if not (with_size or with_color or with_shape):
            continue
        words = [str(random.choice(SIZE_WORDS[entry.size]))] if with_size else []
        words += [entry.color] if with_color else []
        words += [entry.shape if with_shape else noun or str(random.choice(["object", "one", "shape"]))]
        named = (("size", with_size), ("color", with_color), ("shape", with_shape))
        yield " ".join(words), [name for name, used in named if used]


def _alike(objects: tuple[SceneObject, ...], target: int, attributes: list[str]) -> list[int]:
    """Return the objects, target included, that agree with the target in these attributes."""
    values = [getattr(objects[target], name) for name in attributes]
    return [i for i, entry in enumerate(objects) if [getattr(entry, name) for name in attributes] == values]


def _location(objects: tuple[SceneObject, ...], target: int, random: np.random.Generator) -> Iterator[_Offer]:
    for phrase, attributes in _phrases(objects[target], random):
        group = _alike(objects, target, attributes)
        if len(group) < 2:
            continue
        for side, offset in _OFFSETS.items():
            ahead = [offset(objects[target]) - offset(objects[i]) for i in group if i != target]
            if min(ahead) >= CLEAR_PIXELS:
                place = "on the" if side in ("left", "right") else "at the"
                yield 3.0, f"{side} {phrase}"
                yield 2.0, f"{phrase} {place} {side}"
                yield 1.0, f"the {side}most {phrase}"
            yield from _ordinal(objects, target, group, side, phrase)


def _ordinal(
    objects: tuple[SceneObject, ...], target: int, group: list[int], side: str, phrase: str
) -> Iterator[_Offer]:
    if side not in ("left", "right") or len(group) > len(_ORDINALS):
        return
    order = sorted(group, key=lambda i: -_OFFSETS[side](objects[i]))
    gaps = [abs(objects[a].x - objects[b].x) for a, b in pairwise(order)]
    if min(gaps) >= CLEAR_PIXELS:
        yield 2.0, f"{_ORDINALS[order.index(target)]} {phrase} from the {side}"


def _appearance(objects: tuple[SceneObject, ...], target: int, random: np.random.Generator) -> Iterator[_Offer]:
    entry = objects[target]
    for phrase, attributes in _phrases(entry, random):
        group = _alike(objects, target, attributes)
        if len(group) == 1:
            yield 4.0, str(random.choice(["", "the "])) + phrase
        elif "size" not in attributes:
            yield from _superlative(objects, target, group, phrase)
    for phrase, attributes in _phrases(entry, random):
        group = _alike(objects, target, attributes)
        if "color" not in attributes and len(group) > 1:
            others = {objects[i].color for i in group if i != target}
            if len(others) == 1 and entry.color not in others:
                yield 1.0, f"the {phrase} that is not {others.pop()}"
    yield from _same_as(objects, target, random)


def _superlative(objects: tuple[SceneObject, ...], target: int, group: list[int], phrase: str) -> Iterator[_Offer]:
    larger = [objects[target].radius - objects[i].radius for i in group if i != target]
    if min(larger) >= CLEAR_RADIUS:
        yield 1.0, f"biggest {phrase}"
        yield 1.0, f"the largest {phrase}"
    if max(larger) <= -CLEAR_RADIUS:
        yield 2.0, f"smallest {phrase}"


def _same_as(objects: tuple[SceneObject, ...], target: int, random: np.random.Generator) -> Iterator[_Offer]:
    for shared in ("color", "shape"):
        group = [i for i in _alike(objects, target, [shared]) if i != target]
        if len(group) != 1:
            continue
        for phrase, attributes in _phrases(objects[group[0]], random, noun="object"):
            if shared not in attributes and len(_alike(objects, group[0], attributes)) == 1:
                yield 0.4, f"the object with the same {shared} as the {phrase}"


def _relation(objects: tuple[SceneObject, ...], target: int, random: np.random.Generator) -> Iterator[_Offer]:
    for landmark in range(len(objects)):
        if landmark == target:
            continue
        for mark, mark_attributes in _phrases(objects[landmark], random, noun="object"):
            if "shape" not in mark_attributes or len(_alike(objects, landmark, mark_attributes)) != 1:
                continue
            for phrase, attributes in _phrases(objects[target], random, noun="object"):
                others = [i for i in _alike(objects, target, attributes) if i not in (target, landmark)]
                for text in _placed(objects, target, landmark, others, random):
                    yield 1.0 if len(attributes) > 1 else 0.3, f"the {phrase} {text} the {mark}"


def _placed(
    objects: tuple[SceneObject, ...], target: int, landmark: int, others: list[int], random: np.random.Generator
) -> Iterator[str]:
    """Yield relations that hold for the target by a clear margin and for no other candidate at all."""
    for side, offset in _OFFSETS.items():
        beyond = offset(objects[target]) - offset(objects[landmark])
        rivals = [offset(objects[i]) - offset(objects[landmark]) for i in others]
        if beyond >= CLEAR_PIXELS and all(rival <= 0 for rival in rivals):
            yield str(random.choice(["", "that is ", "which is "])) + str(random.choice(_RELATIONS[side]))
    if others:
        near = _distance(objects[target], objects[landmark])
        if all(_distance(objects[i], objects[landmark]) - near >= CLEAR_PIXELS for i in others):
            yield "closest to"


def _distance(a: SceneObject, b: SceneObject) -> float:
    return float(np.hypot(a.x - b.x, a.y - b.y))


_OFFERS: dict[str, Callable[[tuple[SceneObject, ...], int, np.random.Generator], Iterator[_Offer]]] = {
    "location": _location,
    "appearance": _appearance,
    "relation": _relation,
}
