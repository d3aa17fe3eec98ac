"""What a run leaves behind, as versioned schemas and atomic files: records, per-sample rows, history, costs.

    ROOT/records/RUN.parquet          a row per split and protocol (RECORD_SCHEMA)
    ROOT/samples/RUN/SET/SPLIT.parquet  a row per expression (SAMPLE_SCHEMA)
    ROOT/history/RUN.parquet          a row per epoch (HISTORY_SCHEMA)
    ROOT/costs/SCALE/NAME.parquet     a row per component of a model variant (COST_SCHEMA)

One file per run, so that no two writers share a file. A record exists if and only if its run is done. Everything here
reads with pandas in one line. A change of a definition raises SCHEMA_VERSION. Metrics and protocols that were added
have columns after those of the schemas (`record_schema`, `sample_schema` in pipeline.evaluation).
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.digests import DigestError, read_digested, with_digests
from pipeline.files import atomic_writer
from pipeline.record_migrations import MIGRATIONS
from pipeline.run_marks import archived_runs
from sharedris.errors import InputError

SCHEMA_VERSION = 1


class RecordError(InputError):
    """A record that cannot be read, or is of another schema."""


class DamagedTableError(RecordError):
    """A table whose bytes are not those that were written: empty, cut short or changed."""


Int32 = Annotated[int, pa.int32()]
"""An int column of 32 bits; a plain `int` has 64."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One row of a run's record: one split scored under one protocol. RECORD_SCHEMA is derived from the fields.

    Fields of models and trainings are None in a record of external predictions (`sharedris score`).

    Raises:
        RecordError: for a number that is NaN or infinite; None is written as null where the field admits it.
    """

    run_id: str
    content_hash: str
    recipe: str | None  # hash of everything except the ablated modules and the seed
    variant: str  # ModelConfig.variant: joins a record to rows of the paper's tables
    cells: tuple[str, ...]  # sweep cells that the run was trained for, "fpn/No FPN"
    scale: str
    seed: int | None
    train_sets: tuple[str, ...]
    left_out_json: str  # set -> training images, refs, expressions left out because another set holds them out
    split: str  # in full: refcoco+_unc/val
    protocol: str
    protocol_version: Int32
    samples: int
    images: int
    empty_unions: int  # both masks empty: IoU 1, no pixels added to oIoU
    skipped: int  # training samples that could not be read and were replaced
    oiou: float  # all scores are ratios, 0 .. 1
    miou: float
    precision_at_50: float
    precision_at_60: float
    precision_at_70: float
    precision_at_80: float
    precision_at_90: float
    all_background_oiou: float  # scores of trivial answers on the same samples
    all_background_miou: float
    all_image_oiou: float
    all_image_miou: float
    million_params: float | None  # at the run's own scale; per component in costs/
    gmacs: float | None  # None where the operators could not be counted
    cost_json: str | None  # component -> {million_params, gmacs}
    seconds_per_step: float | None  # None where every step was taken in an earlier session
    train_samples_per_second: float | None
    evaluate_samples_per_second: float | None
    peak_memory_mib: float | None
    epochs: int | None
    steps: int | None
    final_loss: float | None  # None where every step of the last epoch was skipped
    world_size: int | None
    batch_norm: str | None  # number of samples behind the head's batch statistics, in words
    config_json: str  # the canonical form: fields of later versions only where they differ from their default
    data_fingerprint: str
    git_commit: str
    git_dirty: bool
    versions_json: str
    hardware_json: str
    started: str  # ISO 8601, UTC
    seconds: float
    plugins_json: str | None  # plugin -> SHA-256 of its files; None without plugins, and before there were any
    skipped_refs_json: str | None  # set -> kind -> refs that `prepare` left out; None where there are none
    cut_sentences: int | None  # of the split, longer than T tokens; None where none is, and before they were counted
    n_acc: float | None = None  # this and the next three: None where no sample of the split is without a target
    t_acc: float | None = None
    giou: float | None = None
    ciou: float | None = None
    boundary_iou: float | None = None  # None before it was computed
    public_scores_json: str | None = None  # evaluator -> scores, of rows of other papers by their own code's rule
    rescored_json: str | None = None  # times, commits and names of scores that `sharedris runs rescore` added
    system: str | None = None  # "external": somebody else's masks, which have no training; None for this project's runs
    predictions_json: str | None = None  # of external masks: name, paper, SHA-256 and form, and what was allowed
    evaluated_json: str | None = None  # when and how the split was scored after training; None where training scored it
    mfu: float | None = None  # model FLOPs of training / peak of the devices; None where one of them is not known
    worker_hours: float | None = None  # of devices in training: seconds of each epoch times its workers
    checkpoint_selection: str | None = None  # which epoch was scored, "best:SET/SPLIT/METRIC, epoch N"; None: the last

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise RecordError(
                    f"{self.run_id}: {entry.name} of {self.split} is {value}", "Run the same command again"
                )


_ARROW_TYPES = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    tuple[str, ...]: pa.list_(pa.string()),
}


def schema_of(row_class: type) -> pa.Schema:
    """Return the parquet schema of a dataclass of rows: the version, then its fields in order."""
    hints = typing.get_type_hints(row_class, include_extras=True)
    columns = [(entry.name, _arrow_type(hints[entry.name])) for entry in dataclasses.fields(row_class)]
    return pa.schema([("schema_version", pa.int32()), *columns])


def _arrow_type(hint: Any) -> pa.DataType:
    if typing.get_origin(hint) is Annotated:
        return hint.__metadata__[0]
    if isinstance(hint, types.UnionType):  # `float | None`: every parquet column may hold nulls
        (hint,) = (kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    return _ARROW_TYPES[hint]


RECORD_SCHEMA = schema_of(RunRecord)

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
        ("intersection_paper", pa.int64()),  # columns of later protocols: pipeline.evaluation.sample_columns
        ("union_paper", pa.int64()),
        ("intersection_original", pa.int64()),
        ("union_original", pa.int64()),
        ("intersection_input", pa.int64()),
        ("union_input", pa.int64()),
        ("iou_paper", pa.float64()),
        ("iou_original", pa.float64()),
        ("iou_input", pa.float64()),
        ("target_area_original", pa.int64()),
        ("target_area_input", pa.int64()),
        ("mask_rle", pa.binary()),  # of `original`: compressed COCO RLE counts, height x width
        ("boundary_iou_paper", pa.float64()),  # null before it was computed
        ("boundary_iou_original", pa.float64()),
        ("boundary_iou_input", pa.float64()),
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
        ("mfu", pa.float64()),  # model FLOPs / peak of the devices
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
    """Write rows as parquet in one step: the file is whole or it is not there. It holds finite numbers and nulls.

    Raises:
        RecordError: when the columns are not exactly those of the schema.
    """
    expected, got = set(schema.names), set(rows.columns) | {"schema_version"}
    if expected != got:
        raise RecordError(f"{path.name}: columns differ from the schema: {sorted(expected ^ got)}")
    rows = rows.assign(schema_version=SCHEMA_VERSION)[schema.names]
    numbers = [column.name for column in schema if pa.types.is_floating(column.type)]
    finite = rows[numbers].astype("float64").replace([math.inf, -math.inf], math.nan)  # NaN is written as null
    rows = rows.assign(**{name: finite[name] for name in numbers})
    table = pa.Table.from_pandas(rows, schema=schema, preserve_index=False)
    table = with_digests(table)
    with atomic_writer(path) as stream:
        pq.write_table(table, stream, compression="zstd", write_page_checksum=True)


_REMEDY = "Move it away and run the same command again"


def read_table(path: Path, schema: pa.Schema) -> pd.DataFrame:
    """Read rows that `write_table` wrote, with every page and the content checked against their checksums.

    A column that the schema has got since the file was written reads as null. A column that the schema does not know,
    of a newer version of the project, is kept.

    Raises:
        DamagedTableError: when the content is damaged.
        RecordError: when the file is missing, cannot be opened, or is of another schema version.
    """
    table = _read_verified(path, None)
    rows = _to_pandas(path, table)
    if schema.names[1] not in rows:  # the first column names what a row is about
        raise RecordError(f"{path} lacks the column {schema.names[1]}", _REMEDY)
    return _with_nulls(rows, schema, schema.names)


def read_columns(path: Path, schema: pa.Schema, columns: Sequence[str]) -> pd.DataFrame:
    """Read only the named columns, checked as by `read_table`: millions of per-sample rows stay small that way.

    Raises:
        DamagedTableError, RecordError: as `read_table`.
    """
    wanted = ["schema_version", schema.names[1], *columns]
    rows = _to_pandas(path, _read_verified(path, wanted))
    if schema.names[1] not in rows:
        raise RecordError(f"{path} lacks the column {schema.names[1]}", _REMEDY)
    return _with_nulls(rows, schema, wanted)[list(dict.fromkeys(wanted))]


def _read_verified(path: Path, columns: Sequence[str] | None) -> pa.Table:
    """Return the columns that are there, all for None, after their checks; each kind of damage is one error."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RecordError(f"{path} does not exist", "Run the sweep or the evaluation that writes it") from None
    except OSError as error:  # of the disk or of permissions: nothing is known about the content
        raise RecordError(f"{path} cannot be read: {error.strerror}", "Make it readable") from None
    if not content:
        raise DamagedTableError(f"{path} cannot be read: the file is empty", _REMEDY)
    try:
        return read_digested(content, columns)
    except DigestError as error:
        raise DamagedTableError(f"{path} is damaged: {error}", _REMEDY) from None
    except Exception as error:  # damaged metadata raises nearly any type
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DamagedTableError(f"{path} cannot be read: {reason}", _REMEDY) from None


def _to_pandas(path: Path, table: pa.Table) -> pd.DataFrame:
    # without the metadata: pandas takes column names from it, and no checksum covers it
    rows: pd.DataFrame = table.replace_schema_metadata().to_pandas()
    versions = set(rows["schema_version"]) if "schema_version" in rows else {None}
    if versions - {SCHEMA_VERSION}:
        raise RecordError(f"{path} has schema version {versions}, this code reads {SCHEMA_VERSION}", _REMEDY)
    return rows


def _with_nulls(rows: pd.DataFrame, schema: pa.Schema, names: Sequence[str]) -> pd.DataFrame:
    newer = [schema.field(name) for name in names if name not in rows.columns]
    older = {field.name: pa.array([MIGRATIONS.get(field.name)] * len(rows), field.type) for field in newer}
    return rows.assign(**{name: values.to_pandas() for name, values in older.items()})


def list_runs(root: Path, *, archived: bool = False) -> list[str]:
    """Return the ids of all runs that have a record, sorted; archived ones only where asked for."""
    hidden = set() if archived else archived_runs(root)
    return sorted(path.stem for path in (Path(root) / "records").glob("*.parquet") if path.stem not in hidden)
