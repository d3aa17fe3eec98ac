"""The rules of the rooms: imports go one way, and each third-party library has its doors."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = """
    sharedris.errors
    sharedris.safetensors_file
    sharedris.registry  sharedris.regular_file  sharedris.finite_weights  sharedris.weight_import
    sharedris.config_values  sharedris.pixels  sharedris.image_input
    sharedris.plugins
    sharedris.config  sharedris.attention_row  sharedris.tokenizer  sharedris.draws
    sharedris.layers  sharedris.loss  sharedris.sentencepiece_tokenizer  sharedris.checkpoint_forms
    sharedris.encoder  sharedris.fusion
    sharedris.projection  sharedris.vilt_encoder
    sharedris.fpn  sharedris.decoder  sharedris.beit3
    sharedris.no_target
    sharedris.model  sharedris.contracts  sharedris.vit_weights
    sharedris.attention_maps
    sharedris.baselines.config
    sharedris.baselines
    sharedris.scales  sharedris.tokenizers  sharedris.build  sharedris.cpu_kernels  sharedris.cuda_kernels
    sharedris.kernels
    sharedris.checkpoint  sharedris.module_check  sharedris.export
    sharedris.hub
    sharedris.predictor
    sharedris.overlay  sharedris.pyfunc

    pipeline.files  pipeline.repeating  pipeline.shared_folder
    pipeline.digests  pipeline.provenance  pipeline.published
    pipeline.run_marks  pipeline.object_store  pipeline.record_migrations
    pipeline.monitoring.progress
    pipeline.records  pipeline.validation_rows  pipeline.identity
    pipeline.intact_tables
    pipeline.evaluation.boundary_iou
    pipeline.evaluation.protocols  pipeline.evaluation.metrics  pipeline.evaluation.sample_columns
    pipeline.evaluation.threshold_counts
    pipeline.evaluation.check
    pipeline.evaluation.power  pipeline.evaluation.public_evaluators
    pipeline.config
    pipeline.recipes  pipeline.precision  pipeline.pretrained_ids
    pipeline.data.catalog  pipeline.data.masks  pipeline.data.storage
    pipeline.data.run_lengths
    pipeline.data.readers  pipeline.data.synthetic
    pipeline.data.copies
    pipeline.data.validation.rules
    pipeline.data.prepared
    pipeline.data.dataset
    pipeline.data.validation
    pipeline.data.export
    pipeline.same_training
    pipeline.job  pipeline.recorded_job  pipeline.preflight  pipeline.plugin_changes
    pipeline.cost.flops  pipeline.cost.devices
    pipeline.cost.utilization
    pipeline.distributed
    pipeline.lifecycle
    pipeline.monitoring
    pipeline.evaluation
    pipeline.training
    pipeline.cost
    pipeline.failures
    pipeline.run_record
    pipeline.model_export  pipeline.demo
    pipeline.score_and_record  pipeline.rescore  pipeline.predictions
    pipeline.added_splits
    pipeline.run
    pipeline.cluster
    pipeline.cli

    sweeps.spec
    sweeps.fpn  sweeps.decoder  sweeps.fusion  sweeps.components  sweeps.compared
    sweeps.backbones  sweeps.framework  sweeps.datasets  sweeps.no_target  sweeps.search
    sweeps.registry  sweeps.plan
    sweeps.status  sweeps.costs  sweeps.evaluate
    sweeps.live_table  sweeps.cost_estimate  sweeps.power
    sweeps.cost_report
    sweeps.fan_out
    sweeps.run
    sweeps.cli
    sweeps.__main__

    reports.json_text  reports.latex_text  reports.layout  reports.style  reports.stats  reports.outline
    reports.small_masks  reports.cost_cells  reports.same_training
    reports.load  reports.paper  reports.scores  reports.render  reports.csv_table  reports.image_grid
    reports.latex_cells  reports.json_table
    reports.latex  reports.labels  reports.run_selection  reports.ground_truth  reports.bootstrap_samples
    reports.external  reports.two_level
    reports.captions  reports.provenance  reports.run_diff  reports.mask_gallery  reports.attention
    reports.sweep_tables  reports.styles
    reports.tables  reports.report_recipe
    reports.sweep_table  reports.methods  reports.ranks
    reports.significance  reports.variation
    reports.paired_test
    reports.plots
    reports.pareto  reports.row_scores
    reports.unflagged
    reports.validation_curves
    reports.breakdown  reports.precision_curve  reports.threshold_curve  reports.seen_words  reports.publish
    reports.registry
    reports.figures  reports.recipe_words
    reports.overview
    reports.page
    reports.explorer_masks  reports.explorer_images
    reports.explorer
    reports.reference
    reports.build
    reports.cli
    reports.__main__
"""
"""Rooms from the ground floor up. A file may import its own room, the rooms on its line, and those on lines above."""

FLOORS = [line.split() for line in ORDER.splitlines() if line.strip()]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
PACKAGES = ("sharedris", "pipeline", "sweeps", "reports")
DOORS = {
    "ray": {"pipeline/cluster/", "sweeps/fan_out.py"},
    "mlflow": {"pipeline/monitoring/mlflow_", "reports/publish.py"},
    "fvcore": {"pipeline/cost/flops.py"},
    "pycocotools": {"pipeline/data/", "pipeline/records.py", "pipeline/model_export/coco_samples.py"},
}
REPORTS_MAY_IMPORT_OF_PIPELINE = {
    "pipeline.cli.common_options",
    "pipeline.cli.machine_output",
    "pipeline.cli.main",
    "pipeline.config",
    "pipeline.identity",
    "pipeline.recipes",
    "pipeline.data.catalog",
    "pipeline.data.masks",
    "pipeline.data.prepared.fingerprint",
    "pipeline.data.readers.images",
    "pipeline.data.readers.quality_flags",
    "pipeline.evaluation.metrics",
    "pipeline.evaluation.power",
    "pipeline.evaluation.protocols",
    "pipeline.evaluation.sample_columns",
    "pipeline.evaluation.threshold_counts",
    "pipeline.files",
    "pipeline.monitoring.mlflow_store",
    "pipeline.object_store.address",
    "pipeline.object_store.opened",
    "pipeline.monitoring.mlflow_uri",
    "pipeline.published.tables",
    "pipeline.records",
    "pipeline.validation_rows",
}
FOREIGN_TO_REPORTS = {"torch", "ray", "sharedris", "sweeps"}
REPORTS_MAY_IMPORT_OF_OTHERS = {
    "sharedris.config",
    "sharedris.errors",
    "sharedris.pixels",
    "sharedris.plugins",
    "sharedris.regular_file",
    "sweeps.registry",
    "sweeps.spec",
}
"""Modules without torch: a gallery shows the pixels that the model saw, a table has the rows of a sweep."""

FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def module_of(path: Path) -> str:
    """The dotted name of a file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imports_of(path: Path) -> set[str]:
    """Every module and every `module.name` that a file imports, at its top and inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def own_modules_imported_by(path: Path) -> set[str]:
    """The modules of this project that a file imports, without packages that it only goes through."""
    named = imports_of(path) & set(MODULES)
    return {name for name in named if MODULES[name].name != "__init__.py"} - {module_of(path)}


def room_of(module: str) -> str:
    """The room of a module: the longest name of the order that it is or lies in."""
    rooms = [room for room in FLOOR if module == room or module.startswith(f"{room}.")]
    assert rooms, f"{module} stands in no room: add its room to ORDER"
    return max(rooms, key=len)


def check_order(importing: str, imported: str) -> None:
    """Fail where an import goes up."""
    room, other = room_of(importing), room_of(imported)
    assert FLOOR[other] <= FLOOR[room], f"{importing} ({room}) imports {imported} ({other}), which stands above it"


def test_there_are_files_of_every_package() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(PACKAGES)


def test_every_room_of_the_order_exists_once() -> None:
    rooms = [room for rooms in FLOORS for room in rooms]
    assert len(rooms) == len(set(rooms))
    assert not [room for room in rooms if room not in MODULES]


def test_an_import_that_goes_up_fails() -> None:
    check_order("pipeline.cli.train", "pipeline.job")
    with pytest.raises(AssertionError, match="stands above it"):
        check_order("pipeline.job", "pipeline.cli.train")
    with pytest.raises(AssertionError, match="no room"):
        room_of("pipeline.somewhere_else")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way_and_third_parties_have_their_doors(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    imported = imports_of(path)
    if path.name != "__init__.py":
        for module in own_modules_imported_by(path):
            check_order(module_of(path), module)
    for library, doors in DOORS.items():
        if any(name.split(".")[0] == library for name in imported):
            assert any(place.startswith(door) for door in doors), f"{place} imports {library}; its doors: {doors}"
    if place.startswith("reports/"):
        foreign = {name for name in imported if name.split(".")[0] in FOREIGN_TO_REPORTS}
        foreign = {name for name in foreign if not name.startswith(tuple(REPORTS_MAY_IMPORT_OF_OTHERS))}
        assert not foreign, f"{place} imports {foreign}"
        for name in own_modules_imported_by(path):
            may_import = REPORTS_MAY_IMPORT_OF_PIPELINE | REPORTS_MAY_IMPORT_OF_OTHERS
            allowed = name.split(".")[0] == "reports" or name in may_import
            assert allowed, f"{place} imports {name}"


def test_no_two_files_import_each_other() -> None:
    imported = {module: own_modules_imported_by(path) for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"a circle: {' -> '.join((*way[way.index(module) :], module))}"
        if module not in done:
            for other in sorted(imported[module]):
                visit(other, (*way, module))
            done.add(module)

    for module in imported:
        visit(module, ())
