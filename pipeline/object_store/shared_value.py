"""A short text on which all hosts of a prefix agree: the first one that was put.

In a store without conditional writes two hosts that ask for the first time within a second may not agree.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.object_store.faults import ConflictError, NoConditionsError
from pipeline.object_store.objects import ANY, Objects


def first_written(objects: Objects, key: str, wanted: str, is_sound: Callable[[str], bool]) -> str:
    """Return the text that the store has under a key; put `wanted` where it has none, or a damaged one.

    Args:
        objects: below the prefix.
        key: of the object.
        wanted: what this host would choose.
        is_sound: whether a text is one.

    Raises:
        StoreError: where the store cannot be used.
    """
    while True:
        answer = objects.get(key)
        text = "" if answer is None else answer[0].decode(errors="replace").strip()
        if is_sound(text):
            return text
        try:
            objects.put(key, wanted.encode(), replaces=None if answer is None else answer[1].e_tag)
        except ConflictError:  # another host was faster, or our own answer was lost: both are read
            continue
        except NoConditionsError:
            objects.put(key, wanted.encode(), replaces=ANY)
        return wanted
