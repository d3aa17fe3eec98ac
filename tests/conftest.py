"""What tests of several folders share: a small prepared set, a run that takes seconds, the given data."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from pipeline.config import DataConfig, ExecutionConfig, OptimConfig, RunConfig, TrainConfig
from pipeline.data.prepared.prepare import prepare_source
from pipeline.data.readers.refer import read_refer
from pipeline.data.synthetic.writer import write_synthetic
from sharedris import plugins
from sharedris.baselines.config import ComparedDecoderConfig, ComparedFpnConfig, ComparedModelConfig
from sharedris.config import EncoderConfig, FusionConfig, HeadConfig

torch.set_num_threads(1)

SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
TOY = "toyplus_unc"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data that lies beside the project; absent on a machine that has only the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no ../shared/data beside the project")
    return SHARED_DATA


@pytest.fixture
def fresh_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process without plugins; registries are as they were when the test ends."""
    registries = [plugins._registry(kind) for kind in plugins.REGISTRIES]
    before = [dict(registry) for registry in registries]
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setattr(plugins, "_owners", {})
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)
    for name in [name for name in sys.modules if name.startswith("sharedris_plugin_")]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first new MLflow store of this process is kept."""
    return tmp_path_factory.mktemp("mlflow") / "mlflow.db"


@pytest.fixture(autouse=True)
def quick_stores(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New stores of this process are copies of the first one: MLflow needs seconds for its forty migrations."""
    store = sys.modules.get("pipeline.monitoring.mlflow_store")
    if store is None:  # importing MLflow takes seconds too, for tests that need none
        return
    make = store.make_database

    def copy(path: Path) -> None:
        if not empty_store.exists():
            make(empty_store)
        shutil.copyfile(empty_store, path)

    monkeypatch.setattr(store, "make_database", copy)


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared root with the smallest synthetic set, made by the code that prepares RefCOCO."""
    root = tmp_path_factory.mktemp("toy")
    write_synthetic(root / "refer", TOY, expressions=40, seed=0)
    prepare_source(read_refer(root / "refer", TOY), str(root / "prepared"))
    return root / "prepared"


@pytest.fixture(scope="session")
def micro_model() -> ComparedModelConfig:
    """A model of two layers at 32x32 pixels: everything of the real one, in milliseconds."""
    fusion = FusionConfig(heads=2, mlp_width=32, bi_width=32, bi_heads=2)
    return ComparedModelConfig(
        scale="micro",
        width=16,
        encoder=EncoderConfig(
            width=16,
            layers=2,
            heads=2,
            mlp_width=32,
            patch_size=8,
            image_size=32,
            vocabulary_size=1024,
            text_positions=32,
        ),
        fpn=ComparedFpnConfig(stages=(1, 2), fusion=fusion),
        decoder=ComparedDecoderConfig(fusion=fusion),
        head=HeadConfig(class_token_hidden=16),
    )


@pytest.fixture(scope="session")
def micro_run(micro_model: ComparedModelConfig) -> RunConfig:
    """Two epochs of four steps on the smallest synthetic set."""
    return RunConfig(
        model=micro_model,
        data=DataConfig(train_sets=(TOY,), evaluate_splits=(f"{TOY}/val",)),
        optim=OptimConfig(learning_rate=1e-3),
        train=TrainConfig(epochs=2, global_batch_size=6, precision="fp32", max_samples_per_epoch=24),
    )


@pytest.fixture
def execution(toy_root: Path, tmp_path: Path) -> ExecutionConfig:
    """One worker in this process, with runs of the test's own."""
    return ExecutionConfig(device="cpu", prepared_root=str(toy_root), runs_root=str(tmp_path / "runs"))


@pytest.fixture
def two_workers(execution: ExecutionConfig) -> ExecutionConfig:
    """The same with two workers."""
    return replace(execution, workers=2)
