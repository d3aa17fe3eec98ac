"""What a run leaves behind, as versioned schemas and atomic files: records, per-sample rows, history, costs.

    ROOT/records/RUN.parquet          a row per split and protocol (RECORD_SCHEMA)
    ROOT/samples/RUN/SET/SPLIT.parquet  a row per expression (SAMPLE_SCHEMA)
    ROOT/history/RUN.parquet          a row per epoch (HISTORY_SCHEMA)
    ROOT/costs/SCALE/NAME.parquet     a row per component of a model variant (COST_SCHEMA)

A file per run, so that no two writers ever meet; a record exists when, and only when, its run is done. Everything here
reads with pandas in one line. A change of a definition raises SCHEMA_VERSION.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files import atomic_writer
from pipeline.run_marks import archived_runs
from sharedris.errors import InputError

SCHEMA_VERSION = 1
PROTOCOLS = ("paper", "original", "input")
PRECISION_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


class RecordError(InputError):
    """A record that cannot be read, or is of another schema."""


RECORD_SCHEMA = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("run_id", pa.string()),
        ("content_hash", pa.string()),
        ("recipe", pa.string()),  # hash of all but the ablated modules and the seed
        ("variant", pa.string()),  # ModelConfig.variant: joins a record to rows of the paper's tables
        ("cells", pa.list_(pa.string())),  # sweep cells it was trained for, "fpn/No FPN"
        ("scale", pa.string()),
        ("seed", pa.int64()),
        ("train_sets", pa.list_(pa.string())),
        ("left_out_json", pa.string()),  # set -> training images, refs, expressions left out: held out by another set
        ("split", pa.string()),  # in full: refcoco+_unc/val
        ("protocol", pa.string()),
        ("protocol_version", pa.int32()),
        ("samples", pa.int64()),
        ("images", pa.int64()),
        ("empty_unions", pa.int64()),  # both masks empty: IoU 1, no pixels added to oIoU
        ("skipped", pa.int64()),
        ("oiou", pa.float64()),  # all scores are shares, 0 .. 1
        ("miou", pa.float64()),
        *[(f"precision_at_{round(100 * level)}", pa.float64()) for level in PRECISION_THRESHOLDS],
        ("all_background_oiou", pa.float64()),  # what trivial answers score on the same samples
        ("all_background_miou", pa.float64()),
        ("all_image_oiou", pa.float64()),
        ("all_image_miou", pa.float64()),
        ("million_params", pa.float64()),  # at the run's own scale; per component in costs/
        ("gmacs", pa.float64()),
        ("cost_json", pa.string()),  # component -> {million_params, gmacs}
        ("seconds_per_step", pa.float64()),
        ("train_samples_per_second", pa.float64()),
        ("evaluate_samples_per_second", pa.float64()),
        ("peak_memory_mib", pa.float64()),
        ("epochs", pa.int64()),
        ("steps", pa.int64()),
        ("final_loss", pa.float64()),
        ("world_size", pa.int64()),
        ("batch_norm", pa.string()),  # how the head's batch statistics were taken
        ("config_json", pa.string()),
        ("data_fingerprint", pa.string()),
        ("git_commit", pa.string()),
        ("git_dirty", pa.bool_()),
        ("versions_json", pa.string()),
        ("hardware_json", pa.string()),
        ("started", pa.string()),  # ISO 8601, UTC
        ("seconds", pa.float64()),
    ]
)

SAMPLE_SCHEMA = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("index", pa.int64()),  # position in the split; every number 0 .. N-1 occurs once
        ("image_id", pa.int64()),
        ("file_name", pa.string()),
        ("ref_id", pa.int64()),
        ("sent_id", pa.int64()),
        ("expression", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("area_ratio", pa.float64()),  # mask area / image area
        *[(f"{name}_{protocol}", pa.int64()) for protocol in PROTOCOLS for name in ("intersection", "union")],
        *[(f"iou_{protocol}", pa.float64()) for protocol in PROTOCOLS],
        ("target_area_original", pa.int64()),
        ("target_area_input", pa.int64()),
        (
            "mask_rle",
            pa.binary(),
        ),  # compressed COCO RLE counts of the `original` protocol's mask, height x width
    ]
)

HISTORY_SCHEMA = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("epoch", pa.int64()),  # 1 .. epochs, each once
        ("step", pa.int64()),  # optimizer steps at the end of the epoch
        ("samples", pa.int64()),
        ("skipped_steps", pa.int64()),
        ("loss", pa.float64()),  # means over the epoch
        ("bce", pa.float64()),
        ("dice", pa.float64()),
        ("gradient_norm", pa.float64()),
        ("learning_rate", pa.float64()),  # of the epoch's last step
        ("world_size", pa.int64()),
        ("micro_batch_size", pa.int64()),  # samples of one forward of one worker
        ("seconds", pa.float64()),
        ("data_seconds", pa.float64()),  # of it spent waiting for batches
    ]
)

COST_SCHEMA = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("variant", pa.string()),
        ("scale", pa.string()),
        ("image_size", pa.int32()),
        ("text_tokens", pa.int32()),
        ("component", pa.string()),  # embedding, encoder, fpn, decoder, head
        ("million_params", pa.float64()),
        ("gmacs", pa.float64()),  # multiply-accumulates / 1e9, what the paper prints as GFLOPs
    ]
)


def record_path(root: Path, run_id: str) -> Path:
    """Return where the record of a run lies."""
    return Path(root) / "records" / f"{run_id}.parquet"


def samples_path(root: Path, run_id: str, split: str) -> Path:
    """Return where the per-sample rows of a run and a split (`SET/SPLIT`) lie."""
    return Path(root) / "samples" / run_id / f"{split}.parquet"


def history_path(root: Path, run_id: str) -> Path:
    """Return where the per-epoch rows of a run lie."""
    return Path(root) / "history" / f"{run_id}.parquet"


def cost_path(root: Path, scale: str, variant: str) -> Path:
    """Return where the costs of a variant at a scale lie."""
    name = "".join(letter if letter.isalnum() or letter in "=,()._-" else "-" for letter in variant)
    return Path(root) / "costs" / scale / f"{name}.parquet"


def write_table(path: Path, rows: pd.DataFrame, schema: pa.Schema) -> None:
    """Write rows as parquet in one step: the file is whole or it is not there.

    Raises:
        RecordError: when the columns are not exactly those of the schema.
    """
    expected, got = set(schema.names), set(rows.columns) | {"schema_version"}
    if expected != got:
        raise RecordError(f"{path.name}: columns differ from the schema: {sorted(expected ^ got)}")
    rows = rows.assign(schema_version=SCHEMA_VERSION)[schema.names]
    table = pa.Table.from_pandas(rows, schema=schema, preserve_index=False)
    with atomic_writer(path) as stream:
        pq.write_table(table, stream, compression="zstd")


def read_table(path: Path, schema: pa.Schema) -> pd.DataFrame:
    """Read rows that `write_table` wrote.

    Raises:
        RecordError: when the file is missing, damaged or of another schema version.
    """
    remedy = "Move it away and run the same command again"
    try:
        rows = pd.read_parquet(path)
    except FileNotFoundError:
        raise RecordError(f"{path} does not exist", "Run the sweep or the evaluation that writes it") from None
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{path} cannot be read: {str(error).splitlines()[0]}", remedy) from None
    versions = set(rows["schema_version"]) if "schema_version" in rows else {None}
    if versions - {SCHEMA_VERSION}:
        raise RecordError(f"{path} has schema version {versions}, this code reads {SCHEMA_VERSION}", remedy)
    if missing := sorted(set(schema.names) - set(rows.columns)):
        raise RecordError(f"{path} lacks the columns {missing}", remedy)
    return rows


def list_runs(root: Path, *, archived: bool = False) -> list[str]:
    """Return the ids of all runs that have a record, sorted; archived ones only where asked for."""
    hidden = set() if archived else archived_runs(root)
    return sorted(path.stem for path in (Path(root) / "records").glob("*.parquet") if path.stem not in hidden)
