"""A run made ready: its configuration with everything derived from it, checked before anything is started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.data.catalog import parse_split
from pipeline.data.prepared.manifest import Manifest, data_fingerprint, load_manifest
from pipeline.data.prepared.verification import read_verified
from pipeline.evaluation.metrics import METRICS
from pipeline.evaluation.threshold_counts import threshold_schema, thresholds_path
from pipeline.intact_tables import is_intact, warn_if_damaged
from pipeline.monitoring.progress import ProgressFile
from pipeline.pretrained_ids import named_by_its_weights, own_tokenizer
from pipeline.recipes import default_micro_batch
from pipeline.records import RECORD_SCHEMA, record_path
from pipeline.same_training import read_training, with_splits_of_same_training
from sharedris.errors import InputError
from sharedris.plugins import Plugin, loaded_plugins


@dataclass(frozen=True, kw_only=True)
class PerRankBatch:
    """One worker's samples in an optimizer step, and how many forwards of which size they make."""

    samples: int
    micro_batch_size: int
    accumulation: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run as a worker receives it. Paths are absolute: a Ray worker's current directory is a session folder.

    Attributes:
        cells: the sweep cells that this run was asked for.
        provenance: what `pipeline.provenance.collect` returned on the driver.
        plugins: those that the driver has loaded, with their files; each worker loads them.
        skipped_refs: set -> kind -> refs that `prepare` left out, for the sets from which it left any out.
        asked_splits: that the record has to hold for this command; those of the config where there are none. They are
            not part of the run's identity: the config has the splits of the run that is the same training.
        wants_curves: recorded splits that were asked for get their scores over the threshold, where they have none.
    """

    run_id: str
    content_hash: str
    recipe: str
    data_fingerprint: str
    config: RunConfig
    execution: ExecutionConfig
    cells: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[Plugin, ...] = ()
    skipped_refs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    asked_splits: tuple[str, ...] = ()
    wants_curves: bool = False

    @property
    def runs_root(self) -> Path:
        """Root of everything that runs write."""
        return Path(self.execution.runs_root)

    @property
    def state_folder(self) -> Path:
        """Checkpoints, progress and lease of this run; removed when the run is done."""
        return self.runs_root / "state" / self.run_id

    @property
    def model_folder(self) -> Path:
        """Exported weights, config and tokenizer."""
        return self.runs_root / "models" / self.run_id

    @property
    def own_tokenizer(self) -> Path | None:
        """Tokenizer that the run's weights were trained with; None where the run takes that of the data."""
        return own_tokenizer(self.config, self.execution)

    @property
    def progress_file(self) -> ProgressFile:
        """The file that holds how far the run is."""
        return ProgressFile(self.state_folder)

    @property
    def trained(self) -> bool:
        """Whether an intact record is on disk: the only sign of a finished training."""
        return is_intact(record_path(self.runs_root, self.run_id), RECORD_SCHEMA)

    @property
    def done(self) -> bool:
        """Whether the record is on disk, with every split and curve that was asked for."""
        return self.trained and not self.missing_splits and not self.missing_curves

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that are evaluated when the training ends."""
        return tuple(dict.fromkeys([*self.config.data.evaluate_splits, *self.asked_splits]))

    @property
    def missing_splits(self) -> tuple[str, ...]:
        """Splits asked for that the record lacks; none where no record can be read."""
        recorded = read_training(record_path(self.runs_root, self.run_id))
        asked = self.asked_splits or self.config.data.evaluate_splits
        return () if recorded is None else tuple(split for split in asked if split not in recorded.splits)

    @property
    def missing_curves(self) -> tuple[str, ...]:
        """Recorded splits whose scores over the threshold were asked for and are not on disk."""
        if not self.wants_curves:
            return ()
        there = [split for split in self.asked_splits if split not in self.missing_splits]
        paths = {split: thresholds_path(self.runs_root, self.run_id, split) for split in there}
        return tuple(split for split, path in paths.items() if not is_intact(path, threshold_schema()))

    def per_rank_batch(self, world_size: int) -> PerRankBatch:
        """Return one worker's part of an optimizer step among `world_size` workers."""
        return per_rank_batch_of(self.config, self.execution, world_size)


def per_rank_batch_of(config: RunConfig, execution: ExecutionConfig, world_size: int) -> PerRankBatch:
    """Return one worker's part of an optimizer step among `world_size` workers.

    With fewer workers than the run was asked for (elastic) a forward stays as large as it was, so that it still fits
    into memory, and more of them are accumulated: the global batch is the same. Without `micro_batch_size` the base and
    large models take at most the paper's 14 samples.
    """
    batch = config.train.global_batch_size
    samples = batch // world_size
    whole = batch // execution.workers
    largest = execution.micro_batch_size or min(whole, default_micro_batch(config.model.scale) or whole)
    least = config.train.batch_norm_samples or 1  # a forward holds whole groups
    sizes = range(max(least, min(largest, samples)), least - 1, -1)
    micro = next(size for size in sizes if samples % size == 0 and size % least == 0)
    return PerRankBatch(samples=samples, micro_batch_size=micro, accumulation=samples // micro)


def resolve_job(
    config: RunConfig,
    execution: ExecutionConfig,
    *,
    cells: tuple[str, ...] = (),
    provenance: Mapping[str, Any] | None = None,
) -> Job:
    """Check a run against the data and the workers, and return it with its identity.

    A run that is the same training under other splits is taken, and the splits of `config` are asked of it.

    Raises:
        InputError: for data that is not prepared, an empty split, a batch that the workers cannot share evenly.
    """
    manifests = _manifests(config, execution)
    _check_batch(config, execution, manifests)
    asked = config
    validated = _validated(execution)
    named = named_by_its_weights(config, execution)
    fingerprint = data_fingerprint(execution.prepared_root, sorted(manifests))
    known = with_splits_of_same_training(named, execution, fingerprint).data
    if known != config.data:
        config, named = replace(config, data=known), replace(named, data=known)
        of_run = _manifests(config, execution)
        fingerprint = data_fingerprint(execution.prepared_root, sorted(of_run))
        manifests = {**manifests, **of_run}
    # Of the config as it was asked for: rows of table VI start from other weights and still belong to one table.
    recipe = config.recipe(fingerprint)
    config = named
    execution = absolute_paths(execution)
    job = Job(
        run_id=config.run_id(fingerprint),
        content_hash=config.content_hash(fingerprint),
        recipe=recipe,
        data_fingerprint=fingerprint,
        config=config,
        execution=execution,
        cells=cells,
        provenance=provenance or {},
        plugins=loaded_plugins(),
        skipped_refs={name: manifest.skipped for name, manifest in manifests.items() if manifest.skipped},
        asked_splits=asked.data.evaluate_splits,
    )
    _check_vocabulary(job, {**manifests, **validated})
    warn_if_damaged(record_path(job.runs_root, job.run_id), RECORD_SCHEMA)
    return job


def absolute_paths(execution: ExecutionConfig) -> ExecutionConfig:
    """Return the execution with absolute paths of prepared sets and runs, since workers run in other folders."""
    prepared = execution.prepared_root
    return replace(
        execution,
        prepared_root=prepared if "://" in prepared else str(Path(prepared).resolve()),
        runs_root=str(Path(execution.runs_root).resolve()),
    )


def _manifests(config: RunConfig, execution: ExecutionConfig) -> dict[str, Manifest]:
    training = [f"{name}/train" for name in config.data.train_sets]
    selected_by = config.train.selected_by
    selection = [] if selected_by is None else [_checked_selection(*selected_by)]
    return verified_manifests(execution, [*training, *config.data.evaluate_splits, *selection])


def _checked_selection(split: str, metric: str) -> str:
    """Return the split that selects the checkpoint; refuse a metric that ranks nothing before hours are spent."""
    parse_split(split)
    ranking = [each.name for each in METRICS.values() if each.better and each.role != "trivial"]
    if metric not in ranking:
        raise InputError(
            f"train.checkpoint_selection: no metric {metric!r} tells which checkpoint is better",
            f"There are: {', '.join(ranking)}",
        )
    return split


def _validated(execution: ExecutionConfig) -> dict[str, Manifest]:
    """Return the manifest of the split of validation; it is not part of the run's data, since it changes nothing."""
    if execution.validate_split is None:
        return {}
    parse_split(execution.validate_split)
    return verified_manifests(execution, [execution.validate_split])


def verified_manifests(execution: ExecutionConfig, splits: Iterable[str]) -> dict[str, Manifest]:
    """Return the manifests of the sets of splits, by name, with the rows of every split checked.

    Raises:
        InputError: for a set that is not prepared, and for a split that is missing, empty or damaged.
    """
    splits = list(splits)
    manifests = {name: load_manifest(execution.prepared_root, name) for name in {each.split("/")[0] for each in splits}}
    for split in splits:
        set_name, split_name = split.split("/")
        counts = manifests[set_name].splits.get(split_name)
        if counts is None or counts.expressions == 0:
            there = ", ".join(sorted(manifests[set_name].splits))
            raise InputError(f"{split} has no samples", f"Prepared splits of {set_name}: {there}")
        read_verified(manifests[set_name], split_name)  # before hours are spent, also on what is read at the end
    return manifests


def _check_vocabulary(job: Job, manifests: Mapping[str, Manifest]) -> None:
    from sharedris.tokenizers import open_tokenizer

    own, model = job.own_tokenizer, job.config.model
    for manifest in manifests.values():
        tokenizer = open_tokenizer(own or manifest.tokenizer_path, model.encoder.text_tokens)
        if tokenizer.vocabulary_size > model.vocabulary_size:
            raise InputError(
                f"the tokenizer of {own or manifest.set} has {tokenizer.vocabulary_size} ids, "
                f"the model {model.vocabulary_size}",
                "Prepare the set with a smaller tokenizer, or raise model.encoder.vocabulary_size",
            )
    fingerprints = {manifest.tokenizer_fingerprint for manifest in manifests.values()}
    if len(fingerprints) > 1 and own is None:
        raise InputError(
            f"the sets {', '.join(sorted(manifests))} were prepared with different tokenizers",
            "Prepare them all with one: sharedris data prepare ... --tokenizer FILE",
        )


def _check_batch(config: RunConfig, execution: ExecutionConfig, manifests: Mapping[str, Manifest]) -> None:
    batch, workers, parts = config.train.global_batch_size, execution.workers, config.train.parts
    group = config.train.batch_norm_samples
    grouped = f" in groups of {group} samples (train.batch_norm_samples)" if group else ""
    if parts % workers:
        raise InputError(
            f"global batch {batch}{grouped} cannot be shared by {workers} workers",
            f"Choose a multiple of {workers * (group or 1)}",
        )
    fewer = range(execution.min_workers or workers, workers)
    if fewer and not any(parts % count == 0 for count in fewer):
        raise InputError(
            f"no number of workers from {fewer[0]} to {fewer[-1]} shares a global batch of {batch}{grouped}",
            f"Set --min-workers to {max(count for count in range(1, workers) if parts % count == 0)} or less",
        )
    share = batch // workers
    micro = execution.micro_batch_size or share
    if group and micro % group:
        raise InputError(
            f"micro batch {micro} does not hold whole groups of {group} samples (train.batch_norm_samples)",
            f"Choose a multiple of {group}",
        )
    if micro < share and share % micro:
        raise InputError(
            f"micro batch {micro} does not divide the {share} samples of a worker's step",
            f"Choose a divisor of {share}",
        )
    available = sum(manifests[name].splits["train"].expressions for name in config.data.train_sets)
    if config.train.max_samples_per_epoch is not None:
        available = min(available, config.train.max_samples_per_epoch)
    if available < batch:
        raise InputError(
            f"{available} training samples do not fill one global batch of {batch}",
            f"Set --global-batch-size to {available} or less",
        )
