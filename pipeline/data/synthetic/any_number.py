"""Sentences about none, one or several objects of a synthetic scene, for a set in gRefCOCO's layout.

None: "the red star" where no star is red; "the blue circle left of the square" where every blue circle is clearly right
of it. Several: "all circles", "the two red objects", "all stars above the white square", "the red circle and the blue
star". As in `expressions.py`, a sentence is generated only where it is true, or false, by a clear margin, and the
finished text is checked by the separate rules of `pipeline.data.synthetic.sentence_checker`.

A sentence about nothing has the forms of the others, in about the same shares: its words alone do not give it away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from pipeline.data.synthetic.expressions import CLEAR_PIXELS, SIZE_WORDS, describe
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
    for targets, offer in _about_several(objects, random):
        by_targets.setdefault(targets, []).append(offer)
    if not by_targets:
        return None
    targets = list(by_targets)[int(random.integers(len(by_targets)))]
    return NamedObjects(targets=targets, sentences=_drawn(by_targets[targets], random))


def _none(objects: Objects, random: np.random.Generator) -> NamedObjects | None:
    flavour = str(random.choice([*_FLAVOURS, *["several"] * len(_FLAVOURS)]))  # as often as of one and of several
    offers = list(_about_nothing(flavour, objects, random))
    return NamedObjects(targets=(), sentences=_drawn(offers, random)) if offers else None


def _drawn(offers: list[_Offer], random: np.random.Generator) -> list[str]:
    """Return one or two different sentences, drawn by weight."""
    count = min(len(offers), int(random.integers(1, _MOST_SENTENCES + 1)))
    weights = np.array([weight for weight, _ in offers])
    chosen = random.choice(len(offers), size=count, replace=False, p=weights / weights.sum())
    return list(dict.fromkeys(offers[int(index)][1] for index in chosen))


def _phrase(attributes: Attributes, random: np.random.Generator, *, plural: bool = False) -> str:
    words = [str(random.choice(SIZE_WORDS[attributes["size"]]))] if "size" in attributes else []
    words += [attributes["color"]] if "color" in attributes else []
    noun = attributes.get("shape") or str(random.choice(["object", "one", "shape"] if not plural else ["object"]))
    return " ".join([*words, noun + ("s" if plural else "")])


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


def _landmarks(objects: Objects, random: np.random.Generator) -> Iterator[tuple[int, str]]:
    """Yield each object that a phrase with its shape names alone, with the shortest such phrase."""
    for index, entry in enumerate(objects):
        for names in (("shape",), ("color", "shape"), ("size", "color", "shape")):
            attributes = {name: getattr(entry, name) for name in names}
            if _matching(objects, attributes) == [index]:
                yield index, _phrase(attributes, random)
                break


def _about_several(objects: Objects, random: np.random.Generator) -> Iterator[tuple[tuple[int, ...], _Offer]]:
    landmarks = list(_landmarks(objects, random))
    for attributes in _combinations():
        group = _matching(objects, attributes)
        if len(group) < 2:
            continue
        phrase = _phrase(attributes, random, plural=True)
        yield tuple(group), (2.0, f"all {phrase}")
        if len(group) in _COUNTS:
            yield tuple(group), (2.0, f"the {_COUNTS[len(group)]} {phrase}")
        if "color" not in attributes:
            for color in sorted({objects[i].color for i in group}):
                others = tuple(i for i in group if objects[i].color != color)
                if len(others) > 1:
                    yield others, (1.0, f"all {phrase} that are not {color}")
        yield from _several_beyond(objects, group, phrase, landmarks)
    for (first, a), (second, b) in combinations(landmarks, 2):
        yield (first, second), (1.0, f"the {a} and the {b}")


def _several_beyond(
    objects: Objects, group: list[int], phrase: str, landmarks: list[tuple[int, str]]
) -> Iterator[tuple[tuple[int, ...], _Offer]]:
    for landmark, mark in landmarks:
        for words, direction in _RELATIONS.items():
            pixels = {i: _beyond(objects, i, landmark, direction) for i in group if i != landmark}
            inside = tuple(i for i, beyond in pixels.items() if beyond >= CLEAR_PIXELS)
            if len(inside) > 1 and all(beyond <= 0 for i, beyond in pixels.items() if i not in inside):
                yield inside, (0.5, f"all {phrase} {words} the {mark}")


def _about_nothing(flavour: str, objects: Objects, random: np.random.Generator) -> Iterator[_Offer]:
    absent, landmarks = _absent(objects, random), list(_landmarks(objects, random))
    if flavour == "relation":
        yield from _nothing_beyond(objects, landmarks, random)
    shaped = [attributes for attributes in absent if "shape" in attributes]
    for attributes in absent:
        others = [each for each in shaped if each != attributes]
        usual = _SEVERAL_ATTRIBUTES[len(attributes)] if flavour == "several" else 1.0
        for weight, form in _FORMS[flavour]:
            if ("{mark}" in form and not landmarks) or ("{color}" in form and "color" in attributes):
                continue
            if "{other}" in form and ("shape" not in attributes or not others):
                continue  # pairs are named by their shapes
            values = _values(attributes, random)
            if others:
                values["other"] = _phrase(others[int(random.integers(len(others)))], random)
            if landmarks:
                values["mark"] = landmarks[int(random.integers(len(landmarks)))][1]
            yield weight * usual, form.format(**values)


def _values(attributes: Attributes, random: np.random.Generator) -> dict[str, str]:
    """Return words for the places of a form."""
    choices = {
        "color": list(COLORS),
        "count": list(_COUNTS.values()),
        "side": ["left", "right", "top", "bottom"],
        "across": ["left", "right"],
        "ordinal": ["first", "second"],
        "beyond": list(_RELATIONS),
    }
    drawn = {name: str(random.choice(words)) for name, words in choices.items()}
    return {**drawn, "phrase": _phrase(attributes, random), "plural": _phrase(attributes, random, plural=True)}


def _absent(objects: Objects, random: np.random.Generator) -> list[dict[str, str]]:
    """Return attributes that no object has together, a few for each choice of names.

    A combination whose every word fits something in the image is the harder one, and is taken where there is one.
    """
    by_names: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for attributes in _combinations():
        if not _matching(objects, attributes):
            by_names.setdefault(tuple(attributes), []).append(attributes)
    found = []
    for candidates in by_names.values():
        near = [each for each in candidates if all(any(getattr(o, k) == v for o in objects) for k, v in each.items())]
        pool = near or candidates
        found.append(pool[int(random.integers(len(pool)))])
    return found


def _nothing_beyond(
    objects: Objects, landmarks: list[tuple[int, str]], random: np.random.Generator
) -> Iterator[_Offer]:
    """Yield relations that are false of every object that is named, by a clear margin."""
    for attributes in _combinations():
        group = _matching(objects, attributes)
        for landmark, mark in landmarks if group else ():
            for words, direction in _RELATIONS.items():
                pixels = [_beyond(objects, i, landmark, direction) for i in group if i != landmark]
                if pixels and max(pixels) <= -CLEAR_PIXELS:
                    yield 0.1, f"the {_phrase(attributes, random)} {words} the {mark}"


_FORMS: dict[str, tuple[_Offer, ...]] = {
    "location": (
        (3.0, "{side} {phrase}"),
        (1.0, "{phrase} on the {across}"),
        (1.0, "the {side}most {phrase}"),
        (2.0, "{ordinal} {phrase} from the {across}"),
    ),
    "appearance": (
        (2.0, "{phrase}"),
        (2.0, "the {phrase}"),
        (0.5, "biggest {phrase}"),
        (0.5, "the largest {phrase}"),
        (0.5, "smallest {phrase}"),
        (0.5, "the {phrase} that is not {color}"),
    ),
    "relation": ((1.0, "the {phrase} {beyond} the {mark}"), (0.3, "the {phrase} closest to the {mark}")),
    "several": (
        (2.0, "all {plural}"),
        (2.0, "the {count} {plural}"),
        (0.5, "all {plural} that are not {color}"),
        (0.5, "all {plural} {beyond} the {mark}"),
        (8.0, "the {phrase} and the {other}"),
    ),
}
"""Kind of sentence -> weight and text, for objects that are not there."""

_SEVERAL_ATTRIBUTES = {1: 2.0, 2: 0.6, 3: 0.1}
"""Number of attributes -> weight: what names several objects rarely names many attributes of them."""
