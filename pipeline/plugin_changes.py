"""Warns of runs that are done with another content of a loaded plugin: nothing trains them again.

A plugin's hash is not part of a run's id (docs/extending.md).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable

from pipeline.job import Job
from pipeline.records import RECORD_SCHEMA, RecordError, read_table, record_path
from sharedris.plugins import describe_plugins

log = logging.getLogger(__name__)


def warn_of_changed_plugins(done: Iterable[Job]) -> None:
    """Log a line for each run that is done and whose record names another content of a loaded plugin."""
    for job in done:
        if not job.plugins:
            continue
        try:
            recorded = read_table(record_path(job.runs_root, job.run_id), RECORD_SCHEMA)["plugins_json"].iloc[0]
        except RecordError:  # whoever reads the record for its scores reports it
            continue
        difference = describe_plugins(json.loads(recorded)) if isinstance(recorded, str) else ""
        if difference:
            log.warning(
                "%s is done, but %s. To train it again rename the module, or remove the run: sharedris runs rm %s",
                job.run_id,
                difference,
                job.run_id,
            )
