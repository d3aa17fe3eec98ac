"""Objects in text columns of records, which may hold anything."""

from __future__ import annotations

import json
from typing import Any


def object_of(text: object) -> dict[str, Any]:
    """Return the object that a text column holds; empty where it holds something else."""
    try:
        values = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def section_of(text: object, name: str) -> dict[str, Any]:
    """Return an object inside the object that a text column holds; empty where there is none."""
    section = object_of(text).get(name)
    return section if isinstance(section, dict) else {}
