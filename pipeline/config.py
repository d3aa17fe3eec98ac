"""What one run is: everything that decides its result, and apart from it everything that does not.

`RunConfig` is hashed into the run's identity (together with the data fingerprint). `ExecutionConfig` says where and on
what the run happens; two runs that differ in it alone are the same run.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from tyro.conf import Suppress, UseAppendAction, arg

from pipeline.identity import canonical, digest
from sharedris.baselines.config import ComparedModelConfig
from sharedris.config import Float32Products, LossConfig, Precision
from sharedris.config_values import (
    checked_value,
    require_component,
    require_distinct,
    require_not_negative,
    require_positive,
)
from sharedris.errors import require_field

GradientExchange = Literal["float32", "bf16"]

CONFIG_VERSION = 2
"""Raised when the meaning of a field changes, so that an old record is never taken for a new run.

2: CGFormer is evaluated by the mean of its draws, and DMMI hides words alone.
"""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which prepared sets are trained on and which splits are evaluated, all in full (`refcoco+_unc/testA`)."""

    train_sets: tuple[str, ...] = ("toyplus_unc",)  # sets whose train splits are trained on
    # splits that are scored after training
    evaluate_splits: Annotated[tuple[str, ...], arg(aliases=("--evaluate",))] = ("toyplus_unc/val",)
    horizontal_flip: bool = False  # the paper names no augmentation
    # The paper is silent; "one_per_ref" draws one sentence per ref and epoch, as CRIS, CGFormer and LAVT do.
    sentences_per_epoch: Literal["all", "one_per_ref"] = "all"

    def __post_init__(self) -> None:
        require_field(len(self.train_sets) > 0, "data.train_sets", "needs at least one set")
        for name in self.train_sets:
            require_component(name, "data.train_sets")
        for split in self.evaluate_splits:
            for part in split.split("/"):
                require_component(part, "data.evaluate_splits")
            require_field(split.count("/") == 1, "data.evaluate_splits", f"{split!r} is not SET/SPLIT in full")
        require_distinct(self.train_sets, "data.train_sets")
        require_distinct(self.evaluate_splits, "data.evaluate_splits")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW and its schedule, as in section IV-A."""

    learning_rate: float = 1e-4  # highest rate, after the warmup
    betas: tuple[float, float] = (0.9, 0.98)  # decay rates of the two moments of AdamW
    weight_decay: float = 5e-4  # decoupled, of AdamW
    decay_norms_and_biases: bool = True  # the paper is silent; plain AdamW decays all
    schedule: Literal["cosine", "constant"] = "cosine"  # per step, to zero
    warmup_steps: int = 0  # steps in which the rate grows linearly from 0
    clip_norm: float = 1.0  # largest norm of the gradient over all parameters

    def __post_init__(self) -> None:
        require_positive("optim", learning_rate=self.learning_rate, clip_norm=self.clip_norm)
        require_not_negative("optim", weight_decay=self.weight_decay, warmup_steps=self.warmup_steps)
        require_field(all(0.0 <= beta < 1.0 for beta in self.betas), "optim.betas", "must be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The recipe's length and numerics; docs/model.md lists the defaults that the paper leaves open."""

    epochs: Annotated[int, arg(aliases=("--epochs",))] = 35  # passes over the training samples
    # 14 samples on each of 8 GPUs, of an optimizer step over all workers
    global_batch_size: Annotated[int, arg(aliases=("--global-batch-size",))] = 112
    precision: Annotated[Precision, arg(aliases=("--precision",))] = "bf16"  # number format of the forward
    # "tf32" lets GPUs round the operands of float32 products and convolutions to TF32: faster where precision is fp32
    float32_products: Float32Products = "float32"
    gradient_exchange: GradientExchange = "float32"  # sent between workers; bf16: half of the bytes, each rounded
    synchronize_batch_norm: bool = True  # statistics over the global batch, whatever the number of workers
    # Statistics of batch norms over groups of so many samples (14: a GPU of the paper), in place of a forward on all
    # workers: neither the number of workers nor the micro-batch changes them. Divides the global batch.
    batch_norm_samples: int | None = None
    max_samples_per_epoch: int | None = None  # reads only so many of each epoch, for trials
    nonfinite_loss: Literal["stop", "skip"] = "stop"  # a loss that is not finite; "skip" is counted
    damaged_samples: Literal["stop", "replace"] = "stop"  # a training sample that cannot be read; "replace" is counted
    loss: LossConfig = field(default_factory=LossConfig)
    # The paper is silent. `best:SET/SPLIT/METRIC` keeps the weights of the epoch with the best score on a whole split,
    # under the protocol `original`; of equal ones the first.
    checkpoint_selection: str = "last"
    # Of drop path and dropout: "rank" draws from each worker's generator; "sample" by seed, step, sample and layer, so
    # that the number of workers changes nothing.
    draws: Literal["rank", "sample"] = "rank"
    encoder_weights_sha256: str | None = None  # of what the encoder starts from; None starts from random weights

    def __post_init__(self) -> None:
        require_positive("train", epochs=self.epochs, global_batch_size=self.global_batch_size)
        if self.batch_norm_samples is not None:
            require_positive("train", batch_norm_samples=self.batch_norm_samples)
            divides = self.global_batch_size % self.batch_norm_samples == 0
            require_field(divides, "train.batch_norm_samples", f"must divide the global batch {self.global_batch_size}")
        if self.max_samples_per_epoch is not None:
            require_positive("train", max_samples_per_epoch=self.max_samples_per_epoch)
        rule, _, rest = self.checkpoint_selection.partition(":")
        parts = rest.split("/")
        if self.checkpoint_selection != "last":
            text = f"{self.checkpoint_selection!r} is neither 'last' nor 'best:SET/SPLIT/METRIC'"
            require_field(rule == "best" and len(parts) == 3 and all(parts), "train.checkpoint_selection", text)
            for part in parts:
                require_component(part, "train.checkpoint_selection")

    @property
    def parts(self) -> int:
        """How many parts a global batch has of which none is shared: a number of workers divides it."""
        return self.global_batch_size // (self.batch_norm_samples or 1)

    @property
    def selected_by(self) -> tuple[str, str] | None:
        """The split in full and the metric that decide which epoch's weights are kept; None keeps the last ones."""
        if self.checkpoint_selection == "last":
            return None
        split, _, metric = self.checkpoint_selection.partition(":")[2].rpartition("/")
        return split, metric


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How masks are scored; the rules themselves are the protocols of `pipeline.evaluation.protocols`."""

    threshold: float = 0.35  # lowest probability of a foreground pixel
    # One sample a forward: kernels choose their order of addition by the batch's shape, so that only a fixed shape
    # gives the same bits however the samples are shared out.
    batch_size: int = 1

    def __post_init__(self) -> None:
        require_field(0.0 < self.threshold < 1.0, "evaluation.threshold", "must be in (0, 1)")
        require_positive("evaluation", batch_size=self.batch_size)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One configuration, one seed."""

    model: ComparedModelConfig = field(default_factory=ComparedModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    seed: int = 0  # of weights, order and draws

    def __post_init__(self) -> None:
        require_field(0 <= self.seed < 2**63, "seed", f"{self.seed} must be 0 .. 2^63 - 1")

    def content_hash(self, data_fingerprint: str) -> str:
        """Return 16 hex digits of all that decides the result: this config, its version and the data."""
        return digest({"config": canonical(self), "data": data_fingerprint}, version=CONFIG_VERSION)

    def recipe(self, data_fingerprint: str) -> str:
        """Return 12 hex digits of all but the ablated modules and the seed: a table holds rows of one recipe."""
        config = canonical(self)
        del config["seed"], config["model"]["fpn"], config["model"]["decoder"], config["model"]["system"]
        config["model"].pop("no_target", None)  # of later versions: the canonical form has it only where it is set
        return digest({"config": config, "data": data_fingerprint}, version=CONFIG_VERSION)[:12]

    def run_id(self, data_fingerprint: str) -> str:
        """Return the run's name, the same on every machine: scale, training sets, seed and content hash."""
        sets = "+".join(self.data.train_sets).replace("/", "_")
        return f"{self.model.scale}-{sets}-s{self.seed}-{self.content_hash(data_fingerprint)[:12]}"


_LARGEST = 2**31


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """Where and on what a run happens; none of it changes the result beyond floating-point order.

    But for one thing: without `train.batch_norm_samples` the head's batch statistics are those of one forward on all
    workers, since accumulated samples of a step are in different forward passes. History and record state the number of
    samples.
    """

    workers: int = 1  # DDP workers of a run, each on one CPU or GPU
    min_workers: int | None = None  # below `workers`: goes on with fewer while nodes are away (elastic)
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: GPUs where there are any
    loader_workers: int | None = None  # processes that load a worker's data; None: 0 on CPUs, up to 8 on GPUs
    prepared_root: Annotated[str, arg(name="prepared")] = "data/prepared"  # root of prepared sets
    runs_root: Annotated[str, arg(name="runs")] = "runs"  # root of records, samples, models; or a prefix of a store
    micro_batch_size: Annotated[int | None, Suppress] = None  # largest batch of one forward; None: `pipeline.recipes`
    checkpoint_every_epochs: int = 1  # checkpoints that a killed run is resumed from
    checkpoint_every_steps: int | None = None  # within an epoch too, for epochs that take hours
    encoder_weights: str | None = None  # path; the weights themselves are hashed into the run
    dual_weights: str | None = None  # the same for rows with Swin and BERT in BEiT-3's place
    weights: tuple[tuple[str, str], ...] = ()  # (name of another encoder, path): the same for its rows
    activation_checkpointing: bool = False  # less memory, more time per step
    deterministic: bool = False  # same bits in every run on the same GPUs; slower, and fails where a kernel cannot
    compile: bool = False  # use torch.compile: takes minutes before the first step
    validate_every_epochs: int | None = None  # validation while training changes no weight and no history
    validate_every_steps: int | None = None  # likewise within an epoch
    validate_samples: int | None = None  # spread evenly over the split; None takes the whole split
    validate_split: str | None = None  # in full; None takes the first split that is evaluated
    accelerator_type: str | None = None  # as Ray names the kind of GPU: A100, H100
    # KEY=VALUE: only nodes with this label of Ray (`ray start --labels`); may be given several times
    node_labels: Annotated[UseAppendAction[tuple[tuple[str, str], ...]], arg(name="node-label")] = ()
    wait_for_resources: float | None = None  # minutes; None waits only where nodes are being started
    evaluation_batch_size: int | None = None  # of splits scored after training; None takes evaluation.batch_size

    def __post_init__(self) -> None:
        numbers = {name: value for name, value in vars(self).items() if type(value) is int}
        for name, value in numbers.items():
            require_field(value < _LARGEST, name, f"must be below {_LARGEST:,}")
        require_field(self.workers >= 1, "workers", "must be 1 or more")
        require_field(
            self.min_workers is None or 1 <= self.min_workers <= self.workers, "min_workers", "must be 1 .. workers"
        )
        require_field((self.loader_workers or 0) >= 0, "loader_workers", "must be 0 or more")
        minutes = self.wait_for_resources
        require_field(minutes is None or 0 <= minutes < _LARGEST, "wait_for_resources", "must be 0 or more minutes")
        accelerated = self.accelerator_type is None or self.device != "cpu"
        require_field(accelerated, "accelerator_type", "needs a GPU: leave out --device cpu")
        validates = self.validate_every_epochs is not None or self.validate_every_steps is not None
        for name in ("validate_samples", "validate_split"):
            require_field(
                validates or getattr(self, name) is None, name, "needs validate_every_epochs or validate_every_steps"
            )
        counts = ("validate_every_epochs", "validate_every_steps", "validate_samples")
        for name in (
            *counts,
            "micro_batch_size",
            "checkpoint_every_epochs",
            "checkpoint_every_steps",
            "evaluation_batch_size",
        ):
            value = getattr(self, name)
            require_field(value is None or value >= 1, name, "must be 1 or more")

    @property
    def reads(self) -> list[str]:
        """What workers read in addition to the runs: prepared sets and the weights that a run starts from."""
        named = (self.prepared_root, self.encoder_weights, self.dual_weights, *dict(self.weights).values())
        return [name for name in named if name is not None]


def replace_at(config: Any, path: str, value: Any, *, above: str = "") -> Any:
    """Return the config with the field at a dotted path (`model.fpn.stages`) replaced.

    Args:
        config: a config dataclass.
        path: dotted path of the field below it.
        value: of the field.
        above: dotted path of `config` itself, for messages.

    Raises:
        ValueError: when no such field exists (the message lists the fields there are), or the value is not what the
            field's annotation says.
    """
    name, _, rest = path.partition(".")
    require_field(dataclasses.is_dataclass(config), path, f"{config!r} has no fields")
    names = [entry.name for entry in dataclasses.fields(config)]
    require_field(name in names, path, f"no field {name!r} here; there are: {', '.join(names)}")
    if rest:
        new = replace_at(getattr(config, name), rest, value, above=f"{above}{name}.")
    else:
        new = checked_value(typing.get_type_hints(type(config))[name], value, f"{above}{name}")
    return dataclasses.replace(config, **{name: new})
