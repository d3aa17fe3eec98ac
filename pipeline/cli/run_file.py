"""A whole run as a file that people read and write, and as a record has it: the two starts of another run."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.recipes import default_run
from sharedris.config import from_dict, to_dict
from sharedris.errors import InputError

_PARTS = ("run", "where")
_MOST_BYTES = 2**20


class _Loader(yaml.SafeLoader):
    """Plain values only: no alias, since a few lines of them stand for gigabytes; `1e-4` is a number."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias before it is followed."""
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read")
        return super().compose_node(parent, index)


# YAML 1.1, which the library reads, takes a number without a point for text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)


def _read_yaml(text: str) -> Any:
    return yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader


_READERS: dict[str, Callable[[str], Any]] = {
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".json": json.loads,
    ".toml": tomllib.loads,
}


def run_file_text(run: RunConfig, where: ExecutionConfig) -> str:
    """Return a run and where it happens as YAML."""
    parts = {"run": to_dict(run), "where": dataclasses.asdict(where)}
    plain = json.loads(json.dumps(parts))  # tuples as lists: YAML has no tuples that every reader reads
    return str(yaml.safe_dump(plain, sort_keys=False))


def read_run_file(path: Path) -> tuple[RunConfig, ExecutionConfig]:
    """Return the run of a file; what it leaves out is that of its scale.

    Raises:
        InputError: for a file that cannot be read, has another form, or holds a value that a field refuses.
    """
    parts = _read(path)
    try:
        scale = _below(_below(parts, "run"), "model").get("scale", "tiny")
        run = from_dict(RunConfig, _merged(to_dict(default_run(scale=scale)), parts.get("run", {})))
        where: ExecutionConfig = from_dict(ExecutionConfig, parts.get("where", {}))
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: {error}", "sharedris train --print-config writes a whole file") from None
    return run, where


def _read(path: Path) -> dict[str, Any]:
    read = _READERS.get(path.suffix)
    if read is None:
        raise InputError(f"{path} is none of {', '.join(_READERS)}", "Give a file that --print-config wrote")
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "Give a file that --print-config wrote") from None
    if len(content) > _MOST_BYTES:
        raise InputError(f"{path} has more than {_MOST_BYTES:,} bytes", "Give a file that --print-config wrote")
    try:
        parts = read(content.decode("utf-8"))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is not {path.suffix[1:].upper()}: {first}", "Mend it") from None
    if not isinstance(parts, dict) or not parts or set(parts) - set(_PARTS):
        raise InputError(
            f"{path} has not the parts {' and '.join(_PARTS)}", "sharedris train --print-config shows them"
        )
    return parts


def _below(values: dict[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(f"{name}: {found!r:.80} are not named fields")
    return found


def _merged(below: dict[str, Any], above: Any) -> dict[str, Any]:
    """Return nested values with those of another dict in the place of the first's."""
    if not isinstance(above, dict):
        raise ValueError(f"{above!r:.80} are not named fields")
    nested = {
        name: _merged(below[name], value)
        for name, value in above.items()
        if isinstance(below.get(name), dict) and value is not None
    }
    return {**below, **above, **nested}


def recorded_run(runs_root: Path, run_id: str) -> RunConfig:
    """Return the config of a recorded run.

    Raises:
        InputError: for a run without a record, or a record whose config this code does not read.
    """
    from pipeline.records import RECORD_SCHEMA, list_runs, read_table, record_path  # pandas: not for `--help`

    path = record_path(runs_root, run_id)
    if not path.exists():
        known = list_runs(runs_root, archived=True)
        there = f"There are: {', '.join(known[:5])}" if known else "sharedris runs lists them"
        raise InputError(f"no record of {run_id!r} below {runs_root}", there)
    text = read_table(path, RECORD_SCHEMA).iloc[0]["config_json"]
    try:
        config: RunConfig = from_dict(RunConfig, json.loads(text))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} has a config that this code does not read: {error}", "Load its plugins") from None
    return config
