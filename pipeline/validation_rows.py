"""Where the scores of a run's validations lie, and what they hold.

ROOT/validation/RUN.parquet    a row per validation and protocol (VALIDATION_SCHEMA)
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

VALIDATION_SCHEMA = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("split", pa.string()),
        ("step", pa.int64()),  # optimizer steps before it; each step once
        ("epoch", pa.int64()),  # finished epochs
        ("samples", pa.int64()),
        ("protocol", pa.string()),
        ("oiou", pa.float64()),
        ("miou", pa.float64()),
        ("precision_at_50", pa.float64()),
        ("seconds", pa.float64()),
    ]
)


def validation_path(root: Path, run_id: str) -> Path:
    """Return where the scores of a run's validations while it trained lie."""
    return Path(root) / "validation" / f"{run_id}.parquet"
