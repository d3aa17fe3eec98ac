"""`sharedris runs`: which runs are done, running or failed, read only from files."""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.common_options import known
from pipeline.cli.machine_output import print_json
from pipeline.cli.runs_options import Options
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.lifecycle.heartbeat import has_live_driver
from pipeline.monitoring.failure_file import read_cause
from pipeline.monitoring.headline import NoScoresError, last_validation, read_scores, score_values, split_scores
from pipeline.monitoring.progress import read_progress
from pipeline.records import RecordError, list_runs
from pipeline.run_marks import archived_runs, read_marks


def run(options: Options) -> int:
    """List the runs."""
    known(PROTOCOLS, options.protocol, "--protocol")
    if options.json:
        print_json(_values(options))
        return 0
    return _list(options)


def _values(options: Options) -> list[dict[str, object]]:
    """Return what is known of each run, by name."""
    found: list[dict[str, object]] = []
    for run_id in sorted(list_runs(options.runs, archived=options.all)):
        values: dict[str, object] = {"run_id": run_id, "state": "done"}
        try:
            rows = read_scores(options.runs, run_id, options.protocol)
            values |= {"variant": rows.iloc[0]["variant"], "scores": [score_values(row) for _, row in rows.iterrows()]}
        except NoScoresError as error:
            values |= {"scores": [], "problem": error.message}
        except RecordError as error:
            values |= {"state": "damaged", "problem": str(error)}
        found.append({**values, "tags": list(read_marks(options.runs, run_id).tags)})
    for run_id in _unfinished(options):
        state = " ".join(_state_words(options.runs / "state" / run_id).split())
        found.append({"run_id": run_id, "state": state, "tags": list(read_marks(options.runs, run_id).tags)})
    return found


def _unfinished(options: Options) -> list[str]:
    hidden = set() if options.all else archived_runs(options.runs)
    done = set(list_runs(options.runs, archived=options.all))
    folders = sorted(path.name for path in (options.runs / "state").glob("*") if path.is_dir())
    return [run_id for run_id in folders if run_id not in done | hidden]


def _list(options: Options) -> int:
    """Print a line per run: first those with a record, with their scores."""
    hidden = set() if options.all else archived_runs(options.runs)
    done, unfinished = list_runs(options.runs, archived=options.all), _unfinished(options)
    if not done and not unfinished:
        print(f"no runs below {options.runs}; make sweep-fpn or sharedris train makes some")
    for run_id in sorted(done):
        print(_done_line(options.runs, run_id, options.protocol))
    for run_id in unfinished:
        validated = "  ".join(["", *filter(None, [last_validation(options.runs, run_id)])])
        words = _state_words(options.runs / "state" / run_id)
        print(f"{run_id:<44} {words}{validated}{_notes(options.runs, run_id)}")
    if hidden:
        print(f"{len(hidden)} archived, shown by --all")
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
