"""`sharedris runs`: which runs are done, running or failed, read only from files; and tag, archive or remove one."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.files import safe_component
from pipeline.lifecycle.heartbeat import has_live_driver
from pipeline.lifecycle.removal import places_of, remove_run
from pipeline.lifecycle.save_request import request_checkpoint
from pipeline.monitoring.failure_file import read_cause
from pipeline.monitoring.headline import NoScoresError, last_validation, read_scores, split_scores
from pipeline.monitoring.progress import read_progress
from pipeline.object_store.address import runs_folder
from pipeline.records import RecordError, list_runs
from pipeline.run_marks import archived_runs, read_marks, write_marks
from sharedris.errors import InputError

NOT_REMOVED = 1
_SAVE = "ask running runs for a checkpoint, before a time limit or before a machine is taken away"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    _add_root(parser, Path("runs"))
    parser.add_argument(
        "--protocol", default="original", choices=PROTOCOLS, help="of the scores (default: %(default)s)"
    )
    parser.add_argument("--all", action="store_true", help="list archived runs too")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", description="Without: list.")
    save = actions.add_parser("save", help=_SAVE, description=f"{_SAVE[0].upper()}{_SAVE[1:]}.")
    save.add_argument("run", metavar="RUN", nargs="?", help="id of a run (default: all that are running)")
    _add_root(save, argparse.SUPPRESS)
    tag = _add_action(actions, "tag", "add tags to a run, or remove them")
    tag.add_argument("tags", metavar="TAG", nargs="+")
    tag.add_argument("--remove", action="store_true", help="remove these tags")
    archive = _add_action(actions, "archive", "leave a run out of lists and tables; its files stay")
    archive.add_argument("--undo", action="store_true", help="show it again")
    remove = _add_action(actions, "rm", "remove a run: record, samples, history, model and state")
    remove.add_argument("--yes", action="store_true", help="do not ask")


def _add_root(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument("--runs", type=runs_folder, default=default, help="root of the runs (default: runs)")


def _add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    action.add_argument("run", metavar="RUN", help="id of a run, as the list names it")
    _add_root(action, argparse.SUPPRESS)
    return action


def run(args: argparse.Namespace) -> int:
    """List the runs, or do what is asked with one."""
    if args.action is None:
        return _list(args)
    if args.action == "save":
        return _save(args)
    _require_run(args.runs, args.run)
    if args.action == "tag":
        return _tag(args)
    if args.action == "archive":
        return _archive(args)
    return _remove(args)


def _list(args: argparse.Namespace) -> int:
    """Print a line per run: first those with a record, with their scores."""
    archived = archived_runs(args.runs)
    hidden = set() if args.all else archived
    done = set(list_runs(args.runs, archived=args.all))
    folders = sorted(path.name for path in (args.runs / "state").glob("*") if path.is_dir())
    unfinished = [run_id for run_id in folders if run_id not in done | hidden]
    if not done and not unfinished:
        print(f"no runs below {args.runs}; make sweep-fpn or sharedris train makes some")
    for run_id in sorted(done):
        print(_done_line(args.runs, run_id, args.protocol))
    for run_id in unfinished:
        validated = "  ".join(["", *filter(None, [last_validation(args.runs, run_id)])])
        words = _state_words(args.runs / "state" / run_id)
        print(f"{run_id:<44} {words}{validated}{_notes(args.runs, run_id)}")
    if hidden:
        print(f"{len(hidden)} archived, shown by --all")
    return 0


def _save(args: argparse.Namespace) -> int:
    """Ask running runs for a checkpoint; from any node that sees the folder."""
    wanted = "*" if args.run is None else safe_component(args.run, "run")
    running = [path for path in sorted((args.runs / "state").glob(wanted)) if has_live_driver(path)]
    if not running:
        raise InputError(f"no run is running below {args.runs}", "Nothing to save")
    for folder in running:
        request_checkpoint(folder)
        print(f"asked {folder.name} for a checkpoint, which it writes within ten steps")
    return 0


def _done_line(root: Path, run_id: str, protocol: str) -> str:
    try:
        rows = read_scores(root, run_id, protocol)
    except NoScoresError as error:
        return f"{run_id:<44} done      {error.message}{_notes(root, run_id)}"
    except RecordError as error:
        return f"{run_id:<44} damaged   {error}{_notes(root, run_id)}"
    scores = "  ".join(split_scores(row) for _, row in rows.iterrows())
    return f"{run_id:<44} done      {rows.iloc[0]['variant']}  {scores}{_notes(root, run_id)}"


def _notes(root: Path, run_id: str) -> str:
    marks = read_marks(root, run_id)
    words = [*(["archived"] if marks.archived else []), *marks.tags]
    return f"  [{', '.join(words)}]" if words else ""


def _state_words(folder: Path) -> str:
    cause = read_cause(folder)
    if cause is not None:
        return f"failed    {cause}"
    progress, driven = read_progress(folder), has_live_driver(folder)
    if progress is None or progress.phase == "done":  # it was done, and its record was removed
        return "running   starting" if driven else "not begun"
    word = "running  " if driven else "interrupted"
    return f"{word} {progress.phase}, epoch {progress.epoch}/{progress.epochs}, {100 * progress.share:.0f} %"


def _require_run(root: Path, run_id: str) -> None:
    if not places_of(root, run_id):
        known = list_runs(root, archived=True)
        remedy = f"There are: {', '.join(known[:5])}" if known else "sharedris runs lists them"
        raise InputError(f"no run {run_id!r} below {root}", remedy)


def _tag(args: argparse.Namespace) -> int:
    given = {safe_component(tag, "tag") for tag in args.tags}
    marks = read_marks(args.runs, args.run)
    tags = set(marks.tags) - given if args.remove else set(marks.tags) | given
    write_marks(args.runs, args.run, replace(marks, tags=tuple(sorted(tags))))
    print(f"{args.run}: {', '.join(sorted(tags)) or 'no tags'}")
    return 0


def _archive(args: argparse.Namespace) -> int:
    write_marks(args.runs, args.run, replace(read_marks(args.runs, args.run), archived=not args.undo))
    print(f"{args.run} is shown again" if args.undo else f"{args.run} is archived; --undo shows it again")
    return 0


def _remove(args: argparse.Namespace) -> int:
    places = ", ".join(str(place.relative_to(args.runs)) for place in places_of(args.runs, args.run))
    if not args.yes:
        if not sys.stdin.isatty():
            raise InputError(f"{args.run}: nothing is removed without a question", "Add --yes")
        print(f"this removes {places}", flush=True)
        if input("Remove it? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing is removed")
            return NOT_REMOVED
    remove_run(args.runs, args.run)
    print(f"removed {places}")
    return 0
