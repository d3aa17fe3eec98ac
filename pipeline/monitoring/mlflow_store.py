"""The door to MLflow's store: opens an experiment, and turns what a store raises into one line."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines for each run that ends
# With MLflow's seven retries a server that is away blocks each call for minutes; what it misses is logged later.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.files import is_out_of_space, safe_component
from pipeline.monitoring.mlflow_abandoned import end_abandoned
from pipeline.monitoring.mlflow_moved import ARTIFACTS, follow_move
from pipeline.monitoring.mlflow_reachable import require_database, short_timeouts
from pipeline.monitoring.mlflow_tags import EXPERIMENT_TAGS
from pipeline.monitoring.mlflow_uri import DATABASE, sqlite_file, sqlite_uri, tracking_uri, without_password
from sharedris.errors import InputError

log = logging.getLogger(__name__)

_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
"""Of a full disk, and of a quota or a limit on the size of files."""


class TrackingError(InputError):
    """MLflow's store does not answer, or refuses; no run depends on it."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An open experiment of a store."""

    client: MlflowClient
    identity: str


def open_experiment(runs_root: Path, name: str) -> Experiment:
    """Open an experiment, or create it with an absolute artifact location.

    Raises:
        TrackingError: when the store does not answer.
    """
    _quiet_mlflow()
    location = None
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        folder = safe_component(name.replace("/", "_"), "MLflow experiment")  # of artifacts; each run has its own below
        location = (Path(runs_root).resolve() / ARTIFACTS / folder).as_uri()
    # Two drivers that make the sqlite store at the same time break each other's migrations.
    with one_line_errors(runs_root), FileLock(runs_root / ".mlflow.lock"), short_timeouts():
        if not os.environ.get("MLFLOW_TRACKING_URI") and not (runs_root / DATABASE).exists():
            make_database(runs_root / DATABASE)
        require_database(tracking_uri(runs_root))
        client = MlflowClient(tracking_uri(runs_root))
        follow_move(runs_root)
        found = client.get_experiment_by_name(name)
        identity = found.experiment_id if found else client.create_experiment(name, location)
        for key, value in EXPERIMENT_TAGS.items():
            if found is None or key not in found.tags:  # what a user has chosen stays
                client.set_experiment_tag(identity, key, value)
        if location is not None:
            end_abandoned(client, [identity], runs_root)
    remove_stray_folder(tracking_uri(runs_root))
    return Experiment(client=client, identity=identity)


def existing_store(runs_root: Path) -> MlflowClient | None:
    """Return a client of the sqlite store below the runs; None for a server, and where no run was logged yet."""
    _quiet_mlflow()
    if os.environ.get("MLFLOW_TRACKING_URI") or not (runs_root / DATABASE).is_file():
        return None
    return MlflowClient(tracking_uri(runs_root))


def make_database(path: Path) -> None:
    """Make an empty store as a whole: MLflow cannot go on with tables that a kill or a full disk left half-made."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        MlflowClient(sqlite_uri(partial)).search_experiments(max_results=1)
        partial.replace(path)
    finally:
        for left in path.parent.glob(f"{partial.name}*"):  # sqlite's journal too
            left.unlink()


def all_runs(runs_root: Path, query: str) -> tuple[MlflowClient, list[Run]]:
    """Return a client and the runs of every experiment of the store that fit a query; the store is not made."""
    client = MlflowClient(tracking_uri(runs_root))
    experiments = [each.experiment_id for each in client.search_experiments()]
    found: list[Run] = list(client.search_runs(experiments, query))
    return client, found


@contextlib.contextmanager
def one_line_errors(runs_root: Path, uri: str = "") -> Iterator[None]:
    """Turn whatever a store raises into one line: a database, server or artifact folder is a plug-in of any make.

    Args:
        runs_root: whose store it is.
        uri: of another store.

    Raises:
        TrackingError: in place of every other exception.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        uri, full = uri or tracking_uri(runs_root), _is_out_of_space(error)
        message = without_password(f"MLflow ({uri}) fails: {f'disk full ({cause})' if full else cause}")
        raise TrackingError(message, _remedy(uri, is_full=full)) from error


def _remedy(uri: str, *, is_full: bool) -> str:
    if is_full:
        return "Free some space there; the same command logs what is missing"
    if uri.startswith("sqlite:"):
        return "Check that its folder can be written, or name another store in MLFLOW_TRACKING_URI"
    return "Start it, or name another one in MLFLOW_TRACKING_URI"


def _is_out_of_space(error: BaseException | None) -> bool:
    """Search the chain of causes: MLflow and SQLAlchemy wrap the error of the system or of sqlite."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        code = getattr(error, "sqlite_errorcode", None)
        if code in _NO_ROOM or (isinstance(error, OSError) and is_out_of_space(error)):
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False


def try_logging(action: Callable[[], None]) -> bool:
    """Call what logs to MLflow and return whether the store took it; on an error log a warning and go on.

    The records are on disk, so a store that fails loses nothing.
    """
    try:
        action()
    except InputError as error:
        log.warning("%s; records are not touched by that, and the same command logs what is missing", error.message)
        return False
    return True


def remove_stray_folder(uri: str) -> None:
    """Remove the folders that MLflow makes for a sqlite address whose quoted letters it takes literally."""
    file, literal = sqlite_file(uri), Path(uri.removeprefix("sqlite:///")).parent
    if file is not None and literal != file.parent:
        with contextlib.suppress(OSError):  # it ends at the first folder that is not empty
            os.removedirs(literal)


def _quiet_mlflow() -> None:
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # MLflow logs a page of trace of each error that it raises too; what it logs while it retries stays.
    logging.getLogger("mlflow.store.db.utils").addFilter(_has_no_trace)


def _has_no_trace(record: logging.LogRecord) -> bool:
    return record.exc_info is None
