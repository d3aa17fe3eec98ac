"""Synthetic scenes: a few colored shapes on a noisy background, with the mask of what is visible of each.

Shapes: HW is a mask, HWC an image, uint8. Sizes and positions in pixels, y downwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.data.masks import decode_mask, encode_segmentation

HEIGHT, WIDTH = 80, 96
"""Not square and not the model's 64x64, so that the protocols differ as they do on photographs."""

SHAPES = ("circle", "square", "triangle", "star")
COLORS = {
    "red": (214, 40, 40),
    "green": (44, 160, 60),
    "blue": (45, 85, 220),
    "yellow": (245, 215, 40),
    "purple": (150, 50, 180),
    "white": (245, 245, 245),
}
RADII = {"small": (8.0, 9.5), "large": (13.5, 16.0)}
_GROUNDS = ((70, 70, 70), (95, 85, 75), (75, 90, 100), (105, 105, 100))
_LEAST_VISIBLE = 0.7
_ATTEMPTS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneObject:
    """One object: centre (x, y) and radius in pixels; polygon is its whole outline, x and y in turn."""

    shape: str
    color: str
    size: str
    x: float
    y: float
    radius: float
    polygon: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Objects from back to front, their visible masks and the image."""

    objects: tuple[SceneObject, ...]
    masks_HW: tuple[np.ndarray, ...]
    image_HWC: np.ndarray
    height: int = HEIGHT
    width: int = WIDTH

    def is_occluded(self, index: int) -> bool:
        """Return whether something lies in front of part of the object."""
        return int(self.masks_HW[index].sum()) < int(_full_mask(self.objects[index]).sum())


def outline(shape: str, x: float, y: float, radius: float) -> tuple[float, ...]:
    """Return the polygon of a shape about its centre."""
    if shape == "square":
        side = radius * 0.86
        corners = [(-side, -side), (side, -side), (side, side), (-side, side)]
    elif shape == "triangle":
        corners = [(0, -radius), (radius, 0.8 * radius), (-radius, 0.8 * radius)]
    elif shape == "star":
        turns = [math.pi * step / 5 - math.pi / 2 for step in range(10)]
        reach = [1.1 * radius if step % 2 == 0 else 0.45 * radius for step in range(10)]
        corners = [(r * math.cos(t), r * math.sin(t)) for t, r in zip(turns, reach, strict=True)]
    else:
        turns = [2 * math.pi * step / 24 for step in range(24)]
        corners = [(radius * math.cos(t), radius * math.sin(t)) for t in turns]
    return tuple(round(value, 2) for dx, dy in corners for value in (x + dx, y + dy))


def make_scene(random: np.random.Generator) -> Scene:
    """Return a random scene of 3 to 6 objects, each visible by 70 % or more and without holes."""
    count = int(random.integers(3, 7))
    objects: list[SceneObject] = []
    masks: list[np.ndarray] = []
    areas: list[int] = []
    for _ in range(_ATTEMPTS):
        if len(objects) == count:
            break
        candidate = _random_object(random, crowd=objects)
        full_HW = _full_mask(candidate)
        reduced = [mask_HW & ~full_HW for mask_HW in masks]
        if all(
            _still_visible(left_HW, mask_HW, area, alike=entry.color == candidate.color)
            for left_HW, mask_HW, area, entry in zip(reduced, masks, areas, objects, strict=True)
        ):
            objects.append(candidate)
            masks = [*reduced, full_HW]
            areas.append(int(full_HW.sum()))
    if len(objects) < 3:
        return make_scene(random)
    return Scene(objects=tuple(objects), masks_HW=tuple(masks), image_HWC=_paint(objects, masks, random))


def _random_object(random: np.random.Generator, crowd: list[SceneObject]) -> SceneObject:
    """Return an object; half of them repeat a shape or color of the scene, so that one word rarely suffices."""
    shape = str(random.choice(SHAPES))
    color = str(random.choice(list(COLORS)))
    if crowd and random.random() < 0.5:
        other = crowd[int(random.integers(len(crowd)))]
        shape, color = (other.shape, color) if random.random() < 0.6 else (shape, other.color)
    size = str(random.choice(list(RADII)))
    radius = round(float(random.uniform(*RADII[size])), 2)
    margin = 1.15 * radius + 1
    x = round(float(random.uniform(margin, WIDTH - margin)), 2)
    y = round(float(random.uniform(margin, HEIGHT - margin)), 2)
    return SceneObject(
        shape=shape, color=color, size=size, x=x, y=y, radius=radius, polygon=outline(shape, x, y, radius)
    )


def _full_mask(entry: SceneObject) -> np.ndarray:
    counts = encode_segmentation([list(entry.polygon)], height=HEIGHT, width=WIDTH)
    return decode_mask(counts, height=HEIGHT, width=WIDTH).astype(bool)


def _still_visible(left_HW: np.ndarray, before_HW: np.ndarray, whole_area: int, *, alike: bool) -> bool:
    """Return whether an object may be covered this far; its own color may not cover it, as no edge would show."""
    left_area = left_HW.sum()
    if left_area == before_HW.sum():
        return True
    return not alike and bool(left_area >= _LEAST_VISIBLE * whole_area) and not has_hole(left_HW)


def has_hole(mask_HW: np.ndarray) -> bool:
    """Return whether the mask encloses background, which polygons cannot express."""
    rows, columns = np.nonzero(mask_HW.any(axis=1))[0], np.nonzero(mask_HW.any(axis=0))[0]
    if rows.size == 0:
        return False
    free = ~np.pad(mask_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    outside = np.zeros_like(free)
    outside[[0, -1], :] = outside[:, [0, -1]] = True
    while True:
        grown = outside.copy()
        grown[1:] |= outside[:-1]
        grown[:-1] |= outside[1:]
        grown[:, 1:] |= outside[:, :-1]
        grown[:, :-1] |= outside[:, 1:]
        grown &= free
        if (grown == outside).all():
            return bool((free & ~outside).any())
        outside = grown


def _paint(objects: list[SceneObject], masks: list[np.ndarray], random: np.random.Generator) -> np.ndarray:
    ground = np.array(_GROUNDS[int(random.integers(len(_GROUNDS)))], dtype=np.float32)
    blotches = random.normal(0, 14, (HEIGHT // 8, WIDTH // 8, 1)).astype(np.float32)
    image_HWC = ground + np.kron(blotches, np.ones((8, 8, 1), dtype=np.float32))
    for entry, mask_HW in zip(objects, masks, strict=True):
        shade = np.float32(random.uniform(0.85, 1.0))
        image_HWC[mask_HW] = np.array(COLORS[entry.color], dtype=np.float32) * shade
    noise = random.normal(0, 9, (HEIGHT, WIDTH, 3)).astype(np.float32)
    return np.clip(image_HWC + noise, 0, 255).astype(np.uint8)
