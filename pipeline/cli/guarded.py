"""Runs the action of a command: errors become one line and an exit code, whatever they are.

0 done   2 bad input or a full disk   70 a defect of this project   129, 130, 143 SIGHUP, Ctrl-C, SIGTERM
141 done, but a part of the output was lost (its reader was gone, or its disk full)
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pipeline.cli.output import patient_output
from pipeline.files import is_out_of_space
from pipeline.lifecycle.signals import TerminatedError, termination_raises
from sharedris.errors import InputError

USER_ERROR, DEFECT, INTERRUPTED, OUTPUT_LOST = 2, 70, 130, 141


def run_guarded(action: Callable[[], int], *, name: str) -> int:
    """Run a command's action and return its exit code; an error is one line on standard error.

    Args:
        action: what the command does.
        name: of the command, in front of the line.
    """
    with patient_output() as (out, _):
        code = _run(action, name)
        out.flush()
        return code if code or not out.lost else OUTPUT_LOST


def _run(action: Callable[[], int], name: str) -> int:
    try:
        with ExitStack() as stack:
            if threading.current_thread() is threading.main_thread():
                stack.enter_context(termination_raises())
            return action()
    except InputError as error:
        line, code = str(error), USER_ERROR
    except KeyboardInterrupt:
        line, code = "interrupted; the same command goes on from here", INTERRUPTED
    except TerminatedError as error:
        line, code = "terminated; the same command goes on from here", error.exit_code
    except Exception as error:
        line, code = _describe(error)
    print(f"{name}: {' '.join(line.splitlines())}", file=sys.stderr)
    return code


def _describe(error: Exception) -> tuple[str, int]:
    """Return the line and the exit code of an exception that no part of the project has turned into its own."""
    if isinstance(error, OSError) and is_out_of_space(error):
        place = error.filename or "a file"
        return f"disk full: {place} could not be written. Free some space; the same command goes on", USER_ERROR
    kind = type(error).__name__
    return f"unexpected {kind}: {_first_line(error)}. {_write_trace(error)}", DEFECT


def _first_line(error: Exception) -> str:
    from pipeline.monitoring.mlflow_uri import without_password

    return without_password((str(error).strip().splitlines() or ["no message"])[0].rstrip("."))


def _write_trace(error: Exception) -> str:
    """Write the full trace to a new file that only this user may read; return a sentence that names it."""
    trace = "".join(traceback.format_exception(error))
    for folder in (tempfile.gettempdir, Path.cwd):
        try:
            descriptor, path = tempfile.mkstemp(prefix="sharedris-trace-", suffix=".txt", dir=str(folder()))
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(trace)
        except OSError:
            continue
        return f"The full trace is in {path}: please report it"
    return f"No folder took the trace: {trace}"
