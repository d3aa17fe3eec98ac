"""`sharedris identify`: which published set and split a file or folder is, and what was changed in it."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.data.copies.identify import identify
from pipeline.data.copies.index import ReferenceIndex, index_refer, load_index, save_index
from pipeline.data.copies.report import identity_json, identity_text
from pipeline.data.storage import open_place
from pipeline.files import require_writable
from sharedris.errors import InputError

DEFAULT_INDEX = "data/refer-index.parquet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "path", nargs="?", metavar="PATH", help="a .p, .parquet, .json, .jsonl, .tsv or .csv, or a folder"
    )
    parser.add_argument("--refer", metavar="ROOT", help="compare with the REFER download below this folder")
    parser.add_argument(
        "--index",
        metavar="FILE",
        help=f"index of ids and hashes to compare with (default: {DEFAULT_INDEX} if it is there)",
    )
    parser.add_argument("--build-index", metavar="ROOT", help="write --index from the REFER download below this folder")
    parser.add_argument("--json", metavar="FILE", help="write everything found as JSON")


def run(args: argparse.Namespace) -> int:
    """Print what each copy is; 0 when all are whole and known, 1 when not."""
    if args.build_index:
        return _build(args)
    if not args.path:
        raise InputError("nothing to identify", "Give a file or folder, or --build-index ROOT")
    if args.refer and args.index:
        raise InputError("--refer and --index exclude each other", "Give one of them")
    identities = identify(Path(args.path), _index(args))
    if args.json:
        open_place(args.json).write_bytes(identity_json(identities).encode())
    print(identity_text(identities), end="")
    if args.json:
        print(f"Everything found: {args.json}")
    return 0 if all(identity.is_whole for identity in identities) else 1


def _build(args: argparse.Namespace) -> int:
    if args.path or args.refer:
        raise InputError("--build-index writes an index and identifies nothing", "Give PATH in a second command")
    target = Path(args.index or DEFAULT_INDEX)
    require_writable(target.parent, "--index")
    index = index_refer(Path(args.build_index))
    save_index(index, target)
    print(f"{target}: ids and hashes of {len(index.entries):,} refs, no texts")
    for part, entries in index.parts.items():
        print(f"  {'/'.join(part)}: {len(entries):,} refs")
    return 0


def _index(args: argparse.Namespace) -> ReferenceIndex | None:
    if args.refer:
        return index_refer(Path(args.refer))
    if args.index or Path(DEFAULT_INDEX).is_file():
        return load_index(Path(args.index or DEFAULT_INDEX))
    return None
