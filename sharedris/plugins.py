"""Plugins: Python code from outside the project that adds to its registries (docs/extending.md).

A plugin is a file, a package folder or an installed module with dicts that are named like the registries: `FUSIONS`,
`SWEEPS` and so on. Only a plugin that a user names, or that is installed with an entry point of the group
`sharedris.plugins`, is run. Records, configs and model folders hold names and hashes, and cause no import.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import importlib.metadata
import importlib.util
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from sharedris.config_values import require_component
from sharedris.errors import InputError
from sharedris.registry import DECODERS, FPNS, FUSIONS

GROUP = "sharedris.plugins"
MOST_BYTES = 16 * 2**20
"""A larger plugin is refused: its files travel to every worker."""

REGISTRIES: dict[str, str] = {
    **{name: f"sharedris.registry:{name}" for name in ("FUSIONS", "FPNS", "DECODERS", "ENCODERS", "SYSTEMS", "LOSSES")},
    "READERS": "pipeline.data.readers.registry:READERS",
    "PREDICTION_READERS": "pipeline.predictions.registry:PREDICTION_READERS",
    "METRICS": "pipeline.evaluation.metrics:METRICS",
    "PROTOCOLS": "pipeline.evaluation.protocols:PROTOCOLS",
    "SWEEPS": "sweeps.registry:SWEEPS",
    "FIGURES": "reports.registry:FIGURES",
    "TABLES": "reports.registry:TABLES",
}
"""Each dict that a plugin may hold -> the registry that it is added to, imported when a plugin has that dict."""

_HIDDEN_BY = {"FUSIONS": (FPNS, DECODERS), "FPNS": (FUSIONS,), "DECODERS": (FUSIONS,)}
"""Registries whose names are values of the same config field."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A loaded plugin.

    Attributes:
        name: of the file or folder without suffix, or the dotted name of the module.
        source: as the user named it, for messages.
        sha256: of the paths and contents of all its files.
        files: path below the plugin's root -> content, which workers load.
    """

    name: str
    source: str
    sha256: str
    files: tuple[tuple[str, bytes], ...] = field(repr=False)


_loaded: dict[str, Plugin] = {}
_owners: dict[tuple[str, str], str] = {}


def loaded_plugins() -> tuple[Plugin, ...]:
    """Return the plugins of this process, by name."""
    return tuple(_loaded[name] for name in sorted(_loaded))


def plugin_hashes(plugins: Iterable[Plugin]) -> dict[str, str]:
    """Return name -> SHA-256, as records and model folders hold them."""
    return {plugin.name: plugin.sha256 for plugin in plugins}


def describe_plugins(hashes: Mapping[str, str]) -> str:
    """Return which plugins a run needs that this process lacks or has in another form; empty if there are none."""
    here = plugin_hashes(loaded_plugins())
    missing = [f"{name} (SHA-256 {sha[:12]})" for name, sha in hashes.items() if name not in here]
    other = [
        f"{name} (SHA-256 {sha[:12]}, here {here[name][:12]})"
        for name, sha in hashes.items()
        if here.get(name, sha) != sha
    ]
    parts = [f"{what} {', '.join(named)}" for what, named in (("needs", missing), ("had another", other)) if named]
    return " and ".join(parts)


def load_plugins(named: Iterable[str]) -> None:
    """Load the installed plugins, and those that a command names.

    Raises:
        InputError: for a plugin that does not exist, does not import or registers a name twice; names the file.
    """
    for entry in importlib.metadata.entry_points(group=GROUP):
        load_plugin(entry.module)
    for source in named:
        load_plugin(source)


def load_plugin(source: str) -> Plugin:
    """Load one plugin and add what it holds to the registries; once, however often it is named.

    Args:
        source: path of a Python file or package folder, or the name of an installed module.

    Raises:
        InputError: as for `load_plugins`.
    """
    path = _find(source)
    files = _read_files(path, source)
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    name = source if not _is_path(source) else path.stem
    plugin = Plugin(name=name, source=source, sha256=digest.hexdigest(), files=files)
    return _load_once(plugin, path)


def load_shipped(plugins: Iterable[Plugin]) -> None:
    """Load in a worker the plugins of its driver, from the files that came with the job.

    Raises:
        InputError: as for `load_plugins`.
    """
    for plugin in plugins:
        if plugin.name not in _loaded:
            folder = Path(tempfile.mkdtemp(prefix="sharedris-plugin-"))  # of this user only
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            for name, content in plugin.files:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
            _load_once(plugin, folder / plugin.files[0][0].split("/")[0])
        else:
            _load_once(plugin, Path(plugin.source))


def _load_once(plugin: Plugin, path: Path) -> Plugin:
    other = _loaded.get(plugin.name)
    if other is not None and other.sha256 != plugin.sha256:
        raise InputError(f"{plugin.source}: {other.source} is a plugin of the same name", "Rename one of the files")
    if other is None:
        _register(plugin, _import(plugin, path))
        _loaded[plugin.name] = plugin
    return _loaded[plugin.name]


def _is_path(source: str) -> bool:
    return source.endswith(".py") or "/" in source or Path(source).exists()


def _find(source: str) -> Path:
    """Return the file or folder of a plugin; of an installed module that of its top-level package."""
    if _is_path(source):
        path = Path(source).resolve()
        if not path.exists():
            raise InputError(f"--plugin {source} does not exist", "Give a Python file, a package or a module")
        if path.is_dir() and not (path / "__init__.py").is_file():
            raise InputError(f"--plugin {source} has no __init__.py", "Give a Python file or a package")
        return path
    try:
        spec = importlib.util.find_spec(source.partition(".")[0])
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise InputError(
            f"--plugin {source}: there is no such file and no such module", "Check the name, or install it"
        )
    origin = Path(spec.origin)
    return origin.parent if origin.name == "__init__.py" else origin


def _read_files(path: Path, source: str) -> tuple[tuple[str, bytes], ...]:
    found = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    kept = [each for each in found if not any(part.startswith((".", "__pycache__")) for part in _inside(each, path))]
    try:
        if sum(each.stat().st_size for each in kept) > MOST_BYTES:
            raise InputError(f"--plugin {source} has more than {MOST_BYTES >> 20} MiB of files", "Leave data out of it")
        return tuple((each.relative_to(path.parent).as_posix(), each.read_bytes()) for each in kept)
    except OSError as error:
        raise InputError(f"--plugin {source} cannot be read: {error.strerror}", "Check its permissions") from None


def _inside(file: Path, root: Path) -> tuple[str, ...]:
    return file.relative_to(root).parts


class _SourceLoader(SourceFileLoader):
    """Compiles the file that is there: a cached one of the same second and size would be taken for it."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the file."""
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def _import(plugin: Plugin, path: Path) -> ModuleType:
    """Import a plugin under a name of its own, so that no file hides an installed module of the same name."""
    top, _, rest = plugin.name.partition(".")
    name = f"sharedris_plugin_{top}"
    start = path / "__init__.py" if path.is_dir() else path
    inside = [str(path)] if path.is_dir() else None
    loader = _SourceLoader(name, str(start))
    spec = importlib.util.spec_from_file_location(name, start, loader=loader, submodule_search_locations=inside)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
        return importlib.import_module(f"{name}.{rest}") if rest else module
    except (Exception, SystemExit) as error:
        for each in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
            del sys.modules[each]
        where = f"{plugin.source}, line {_line_of(error, path)}"
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{where}: the plugin does not import: {reason}", "Correct the file") from None


def _line_of(error: BaseException, path: Path) -> int:
    """Return the last line of the plugin's own code that the error passed, 1 where there is none."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).is_relative_to(path)]
    return next((line for line in reversed(lines) if line is not None), 1)


def _register(plugin: Plugin, module: ModuleType) -> None:
    """Add every dict of the plugin to its registry; nothing is added where one name is refused."""
    held = {kind: getattr(module, kind) for kind in REGISTRIES if hasattr(module, kind)}
    if not held:
        raise InputError(f"{plugin.source} holds none of {', '.join(REGISTRIES)}", "docs/extending.md shows plugins")
    registries = {kind: _registry(kind) for kind in held}
    for kind, entries in held.items():
        _check_entries(plugin, kind, entries, registries[kind])
    for kind, entries in held.items():
        registries[kind].update(entries)
        _owners.update({(kind, name): plugin.source for name in entries})


def _registry(kind: str) -> dict[str, Any]:
    module, _, name = REGISTRIES[kind].partition(":")
    registry: dict[str, Any] = getattr(importlib.import_module(module), name)
    return registry


def _check_entries(plugin: Plugin, kind: str, entries: Any, registry: Mapping[str, Any]) -> None:
    if not isinstance(entries, dict):
        raise InputError(f"{plugin.source}: {kind} is a {type(entries).__name__}, not a dict", "Correct the file")
    for name, entry in entries.items():
        try:
            require_component(name, kind)
        except ValueError as error:
            raise InputError(f"{plugin.source}: {error}", "Choose another name") from None
        if any(name in each for each in (registry, *_HIDDEN_BY.get(kind, ()))):
            owner = _owners.get((kind, name), "the project")
            raise InputError(f"{plugin.source}: {kind} has {name!r}, which {owner} has already", "Choose another name")
        _check_entry(plugin, f"{kind}[{name!r}]", entry, registry, name)


def _check_entry(plugin: Plugin, place: str, entry: Any, registry: Mapping[str, Any], name: str) -> None:
    """Check that an entry is of the kind that the registry holds: a builder, or an object of the same class."""
    classes = {type(each) for each in registry.values() if not callable(each) and not isinstance(each, str)}
    wanted = " or ".join(sorted(each.__name__ for each in classes)) or "a class or a function"
    good = isinstance(entry, tuple(classes)) if classes else callable(entry)
    if not good:
        raise InputError(f"{plugin.source}: {place} is a {type(entry).__name__}, not {wanted}", "Correct the file")
    if classes and getattr(entry, "name", name) != name:
        raise InputError(f"{plugin.source}: {place} is named {entry.name!r}", "Use one name for both")
