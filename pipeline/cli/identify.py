"""`sharedris data identify`: which published set and split a file or folder is, and what was changed in it."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.cli.identify_options import Options
from pipeline.cli.machine_output import print_json
from pipeline.data.copies.identify import identify
from pipeline.data.copies.index import ReferenceIndex, index_refer, load_index, save_index
from pipeline.data.copies.report import identity_json, identity_text
from pipeline.data.storage import open_place
from pipeline.files import require_writable
from sharedris.errors import InputError

DEFAULT_INDEX = "data/refer-index.parquet"


def run(options: Options) -> int:
    """Print what each copy is; 0 when all are whole and known, 1 when not."""
    if options.build_index:
        return _build(options, Path(options.build_index))
    if not options.path:
        raise InputError("nothing to identify", "Give a file or folder, or --build-index ROOT")
    if options.refer and options.index:
        raise InputError("--refer and --index exclude each other", "Give one of them")
    identities = identify(Path(options.path), _index(options))
    if options.out:
        open_place(options.out).write_bytes(identity_json(identities).encode())
    print(identity_text(identities), end="")
    if options.out:
        print(f"Everything found: {options.out}")
    if options.json:
        print_json(json.loads(identity_json(identities)))
    return 0 if all(identity.is_whole for identity in identities) else 1


def _build(options: Options, root: Path) -> int:
    if options.path or options.refer:
        raise InputError("--build-index writes an index and identifies nothing", "Give PATH in a second command")
    target = Path(options.index or DEFAULT_INDEX)
    require_writable(target.parent, "--index")
    index = index_refer(root)
    save_index(index, target)
    print(f"{target}: ids and hashes of {len(index.entries):,} refs, no texts")
    for part, entries in index.parts.items():
        print(f"  {'/'.join(part)}: {len(entries):,} refs")
    return 0


def _index(options: Options) -> ReferenceIndex | None:
    if options.refer:
        return index_refer(Path(options.refer))
    if options.index or Path(DEFAULT_INDEX).is_file():
        return load_index(Path(options.index or DEFAULT_INDEX))
    return None
