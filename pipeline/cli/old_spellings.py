"""Spellings of version 0.2 that still work for one version: each becomes the new one, with a line that names it.

The rewriting is on words only. It knows no types: what a value must be is decided where the options are read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipeline.data.readers.field_values import shown
from sharedris.errors import InputError

REMOVED_IN = "0.4"

_COMMANDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("synthesize",): ("data", "synthesize"),
    ("prepare",): ("data", "prepare"),
    ("check",): ("data", "check"),
    ("identify",): ("data", "identify"),
    ("export-data",): ("data", "export"),
    ("evaluators",): ("score", "evaluators"),
    ("rescore",): ("runs", "rescore"),
    ("import-beit3",): ("import", "beit3"),
    ("import-vit",): ("import", "vit"),
    ("import-dual",): ("import", "dual"),
}
_RUN_ACTIONS = ("save", "tag", "archive", "rm")
_LONGEST_FIELD = 100

Rewrite = Callable[[str], list[str]]


def in_new_spelling(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words as this version spells them, and a line for each spelling that will go.

    Raises:
        InputError: for `--set` without FIELD=VALUE.
    """
    new, notes = _renamed_command(list(words))
    rules = _rules_of(new)
    result: list[str] = []
    place = 0
    while place < len(new):
        option, equals, value = new[place].partition("=")
        rule = rules.get(option)
        has_value = bool(equals) or place + 1 < len(new)
        if rule is None or not has_value:
            result.append(new[place])
            place += 1
            continue
        value = value if equals else new[place + 1]
        spelled = rule(value)
        place += 1 if equals else 2
        if spelled != [option, value] and option != "--node-label":
            notes.append(_note(f"{option} {value}", " ".join(spelled)))
        result += spelled
    return result, list(dict.fromkeys(notes))


def _note(old: str, new: str) -> str:
    return f"note: {shown(old)} is spelled {shown(new)} now; the old spelling goes with version {REMOVED_IN}"


def _renamed_command(words: list[str]) -> tuple[list[str], list[str]]:
    if words[:1] == ["runs"]:
        return _action_first(words), []
    renamed = _COMMANDS.get(tuple(words[:1]))
    if renamed is None:
        return words, []
    return [*renamed, *words[1:]], [_note(f"sharedris {words[0]}", f"sharedris {' '.join(renamed)}")]


def _action_first(words: list[str]) -> list[str]:
    """Return `runs --runs DIR tag ..` as `runs tag --runs DIR ..`."""
    actions = [place for place, word in enumerate(words) if word in _RUN_ACTIONS]
    if words[1:2] != ["--runs"] or not actions:
        return words
    return ["runs", words[actions[0]], *words[1 : actions[0]], *words[actions[0] + 1 :]]


def _rules_of(words: list[str]) -> dict[str, Rewrite]:
    """Return the option -> its rewriting, for the command that the words begin with."""
    first = words[0] if words else ""
    scale: dict[str, Rewrite] = {"--model": lambda value: ["--scale", value]}
    if first in ("train", "sweep"):
        return {**scale, "--set": _fields, "--evaluate": _splits, "--weights": _weights, "--node-label": _label}
    if words[:2] in (["data", "prepare"], ["data", "synthesize"]) or first == "score":
        return {"--set": lambda value: ["--data", value]}
    if words[:2] in (["data", "check"], ["data", "identify"]):
        return {"--json": lambda value: ["--out", value] if value.endswith(".json") else ["--json", value]}
    if first == "predict":
        return {"--runs-root": lambda value: ["--runs", value]}
    return scale if first in ("cost", "import") else {}


def _splits(value: str) -> list[str]:
    return ["--evaluate", *value.split(",")]


def _weights(value: str) -> list[str]:
    encoder, equals, path = value.partition("=")
    return ["--weights", encoder, path] if equals else ["--weights", value]


def _label(value: str) -> list[str]:
    """Return KEY=VALUE as two words: Ray's own commands spell labels so, and it stays."""
    key, equals, text = value.partition("=")
    return ["--node-label", key, text] if equals else ["--node-label", value]


def _fields(assignment: str) -> list[str]:
    """Return the options of `--set FIELD=VALUE`; a value in braces sets several fields below the one named."""
    path, equals, text = assignment.partition("=")
    if not equals or len(path) > _LONGEST_FIELD:
        raise InputError(f"--set {shown(assignment)} is not FIELD=VALUE", "For example --optim.learning-rate 2e-4")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or a number or nesting that Python refuses: then it is text
        return [f"--{_option(path)}={text}"]
    return list(_options_of(path, value, text))


def _option(path: str) -> str:
    return path.replace("_", "-")


def _options_of(path: str, value: Any, text: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _options_of(f"{path}.{name}", below, json.dumps(below))
    elif isinstance(value, bool):
        above, dot, name = _option(path).rpartition(".")
        yield f"--{above}{dot}{name if value else 'no-' + name}"
    elif isinstance(value, list):
        yield f"--{_option(path)}"
        yield from _flat(value)
    else:
        yield f"--{_option(path)}={'None' if value is None else value if isinstance(value, str) else text}"


def _flat(values: list[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value if isinstance(value, str) else json.dumps(value)
