"""The table of all commands: one word per thing, and where the code of each is.

The code is imported when a command is called, by name: a group of another room (`sweep`, `report`) is above this one,
and an installation of the model alone has not the packages that the others need.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from sharedris.errors import InputError

Path = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of the table.

    Attributes:
        module: has `run(options) -> int`; perhaps `READS`, the kinds of files that it reads of an object store.
        apart: `Options`, a frozen dataclass, and perhaps `starting_options(words)` are in MODULE_options, which imports
            only what the help shows: `--help` does not wait for pandas or torch. Else they are in `module` too.
        help: one line, which begins with a verb.
        extra: of pyproject.toml, whose packages the command needs; "" for those that every installation has.
    """

    module: str
    help: str
    apart: bool = False
    extra: str = "train"


COMMANDS: dict[Path, Command] = {
    ("data", "synthesize"): Command(
        module="pipeline.cli.synthesize", apart=True, help="write a synthetic referring data set in the REFER layout"
    ),
    ("data", "prepare", "refer"): Command(
        module="pipeline.cli.prepare_refer", apart=True, help="prepare the REFER layout of RefCOCO, RefCOCO+, RefCOCOg"
    ),
    ("data", "prepare", "custom"): Command(
        module="pipeline.cli.prepare_custom", apart=True, help="prepare own data: JSON Lines or CSV (docs/data.md)"
    ),
    ("data", "prepare", "hf"): Command(
        module="pipeline.cli.prepare_hf", apart=True, help="prepare parquet of Hugging Face's datasets"
    ),
    ("data", "check"): Command(
        module="pipeline.cli.check", apart=True, help="check a prepared or original set before training on it"
    ),
    ("data", "identify"): Command(
        module="pipeline.cli.identify",
        apart=True,
        help="name the published set and split that a file is, and what was changed",
    ),
    ("data", "export"): Command(
        module="pipeline.cli.export_data",
        apart=True,
        help="write a prepared set as parquet of `datasets` or as COCO's JSON",
    ),
    ("train",): Command(module="pipeline.cli.train", apart=True, help="train, evaluate and record one run"),
    ("sweep", "list"): Command(module="sweeps.cli.list_sweeps", help="list every sweep"),
    ("sweep", "plan"): Command(
        module="sweeps.cli.plan", apart=True, help="show cells, steps, hours, money and disk, and start nothing"
    ),
    ("sweep", "run"): Command(module="sweeps.cli.run", apart=True, help="run the cells that have no record"),
    ("sweep", "status"): Command(
        module="sweeps.cli.status", apart=True, help="show the state of every cell, read only from files"
    ),
    ("sweep", "evaluate"): Command(
        module="sweeps.cli.evaluate",
        apart=True,
        help="score the trained runs of a sweep on more splits, and train nothing",
    ),
    ("sweep", "stop"): Command(
        module="sweeps.cli.stop",
        apart=True,
        help="ask the driver of a running sweep to end; the same run command resumes it",
    ),
    ("sweep", "costs"): Command(
        module="sweeps.cli.costs", help="measure every model of a sweep at the paper's scale, for the tables"
    ),
    ("evaluate",): Command(
        module="pipeline.cli.evaluate", apart=True, help="score a trained model on a split, every sample once"
    ),
    ("score", "masks"): Command(
        module="pipeline.cli.score", apart=True, help="score masks that others predicted, and record them like a run"
    ),
    ("score", "evaluators"): Command(
        module="pipeline.cli.evaluators", help="print who measures what, or every public evaluator's scores"
    ),
    ("report", "tables"): Command(
        module="reports.cli.tables", apart=True, help="write tables, or the whole report, from records", extra="report"
    ),
    ("report", "compare"): Command(
        module="reports.cli.compare", apart=True, help="compare runs: configs, scores and a paired test", extra="report"
    ),
    ("report", "explore"): Command(
        module="reports.cli.explore", apart=True, help="write one file to look at samples and masks", extra="report"
    ),
    ("report", "reference", "make"): Command(
        module="reports.cli.reference_make",
        apart=True,
        help="write the reference of a sweep from its records",
        extra="report",
    ),
    ("report", "reference", "check"): Command(
        module="reports.cli.reference_check", apart=True, help="compare records with a reference", extra="report"
    ),
    ("runs", "list"): Command(module="pipeline.cli.runs", apart=True, help="list runs with their state and scores"),
    ("runs", "save"): Command(
        module="pipeline.cli.runs_save",
        help="ask running runs for a checkpoint, before a time limit or before a machine is taken away",
    ),
    ("runs", "tag"): Command(module="pipeline.cli.runs_tag", apart=True, help="add tags to a run, or remove them"),
    ("runs", "archive"): Command(
        module="pipeline.cli.runs_archive", apart=True, help="leave a run out of lists and tables; its files stay"
    ),
    ("runs", "rm"): Command(
        module="pipeline.cli.runs_rm", apart=True, help="remove a run: record, samples, history, model and state"
    ),
    ("runs", "rescore"): Command(
        module="pipeline.cli.rescore",
        apart=True,
        help="add scores of newer metrics and protocols to records, without training",
    ),
    ("predict",): Command(
        module="pipeline.cli.predict",
        apart=True,
        help="segment the object that a sentence describes in an image",
        extra="",
    ),
    ("export",): Command(
        module="pipeline.cli.export",
        help="write a trained model as ONNX or for torch.export, checked, or as a folder for the Hub",
        extra="export",
    ),
    ("demo",): Command(
        module="pipeline.cli.demo",
        help="write a trained model as one HTML page that works from disk, offline",
        extra="export",
    ),
    ("ui",): Command(module="pipeline.cli.ui", help="show the runs in MLflow"),
    ("cost",): Command(
        module="pipeline.cli.cost", apart=True, help="measure parameters and GMACs next to the published cells"
    ),
    ("import", "beit3"): Command(
        module="pipeline.cli.import_beit3",
        apart=True,
        help="read official BEiT-3 weights and report which parameters fit",
    ),
    ("import", "vit"): Command(
        module="pipeline.cli.import_vit", apart=True, help="read a ViT's weights for the second encoder"
    ),
    ("import", "dual"): Command(
        module="pipeline.cli.import_dual",
        apart=True,
        help="join Swin and BERT weights for the dual encoders of table VI",
    ),
    ("completion",): Command(
        module="pipeline.cli.completion", help="print the completion script of bash or zsh", extra=""
    ),
}

GROUPS: dict[Path, str] = {
    ("data",): "synthetic, published and own data",
    ("data", "prepare"): "from annotations to the prepared format that training and evaluation read",
    ("sweep",): "the paper's ablations: plan, run, resume, stop",
    ("score",): "masks that others predicted; without a second word: masks",
    ("report",): "tables, figures and pages from records; without a second word: tables",
    ("report", "reference"): "scores that a sweep is expected to reach",
    ("runs",): "records and models; without a second word: list",
    ("import",): "pretrained weights of encoders",
}
"""Words that are not commands themselves."""

DEFAULTS: dict[Path, Path] = {
    ("score",): ("score", "masks"),
    ("report",): ("report", "tables"),
    ("runs",): ("runs", "list"),
}
"""Group -> the command that is meant where no other of the group is named."""


def find_command(words: Sequence[str]) -> tuple[Path, Sequence[str]]:
    """Return the path of the command that the words begin with, the longest there is, and the words after it.

    The path is that of a group where no command is named; there is none for no words.

    Raises:
        InputError: for a word that names nothing; names the nearest ones.
    """
    path: Path = ()
    for word in words:
        if word.startswith("-") or not below((*path, word)):
            break
        path = (*path, word)
    rest = words[len(path) :]
    if path in DEFAULTS and list(rest[:1]) not in (["-h"], ["--help"]):
        path = DEFAULTS[path]
    if path not in COMMANDS and rest and not rest[0].startswith("-"):
        raise _unknown(path, rest[0])
    return path, rest


def below(path: Path) -> list[Path]:
    """Return the commands whose paths begin with a path, itself included."""
    return [each for each in COMMANDS if each[: len(path)] == path]


def _unknown(path: Path, word: str) -> InputError:
    names = sorted({each[len(path)] for each in below(path) if len(each) > len(path)})
    near = difflib.get_close_matches(word, names, n=2)
    last_words = {each[-1]: each for each in COMMANDS}
    if not near and word in last_words:  # `sharedris status` for `sharedris sweep status`
        near = [" ".join(last_words[word])]
    group = " ".join(("sharedris", *path))
    remedy = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(names)}"
    return InputError(f"{group} has no command {word!r}", remedy)
