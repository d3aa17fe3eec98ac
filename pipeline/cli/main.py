"""The `sharedris` command: each sub-command is a module with `add_arguments` and `run`, imported when it is called."""

from __future__ import annotations

import argparse
import importlib
import sys

from pipeline.cli.guarded import run_guarded
from pipeline.cli.plugin_option import add_plugin_argument, plugins_named_in
from pipeline.monitoring.console_log import add_verbosity_arguments, level_of, log_to_console
from pipeline.object_store.layout import SMALL
from pipeline.object_store.opened import SCORES, opened_runs
from sharedris.plugins import load_plugins

COMMANDS: dict[str, tuple[str, str]] = {
    "synthesize": ("synthesize", "write a synthetic referring data set in the REFER layout"),
    "prepare": ("prepare", "turn annotations and images into the prepared format"),
    "check": ("check", "check a prepared or original set before training on it"),
    "export-data": ("export_data", "write a prepared set as parquet of Hugging Face's datasets or as COCO's JSON"),
    "identify": ("identify", "name the published set and split that a file is, and what was changed in it"),
    "train": ("train", "train, evaluate and record one run"),
    "evaluate": ("evaluate", "score a trained model on a split, every sample once"),
    "score": ("score", "score masks that others predicted, and record them like a run"),
    "evaluators": ("evaluators", "print who measures what, or every public evaluator's scores on the same masks"),
    "rescore": ("rescore", "add scores of newer metrics and protocols to records, without training"),
    "runs": ("runs", "list runs with their state and scores"),
    "cost": ("cost", "measure parameters and GMACs next to the published cells"),
    "import-beit3": ("import_beit3", "read official BEiT-3 weights and report which parameters fit"),
    "import-vit": ("import_vit", "read a ViT's weights for the second encoder and report which parameters fit"),
    "import-dual": ("import_dual", "join Swin and BERT weights for the dual encoders of table VI"),
    "export": ("export", "write a trained model as ONNX or for torch.export, checked, or as a folder for the Hub"),
    "demo": ("demo", "write a trained model as one HTML page that works from disk, offline"),
    "predict": ("predict", "segment the object that a sentence describes in an image"),
}

_READS = {"score": SCORES, "rescore": SCORES}
"""Command -> the kinds of files that it reads of runs in an object store, where it reads more than others."""


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser with the arguments of only the named sub-command, so that `--help` imports little."""
    parser = argparse.ArgumentParser(prog="sharedris", description="Prepare, train, measure and use Shared-RIS.")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module_name, help_text) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=help_text, description=help_text[0].upper() + help_text[1:] + ".")
        if name == command:
            module = importlib.import_module(f"pipeline.cli.{module_name}")
            module.add_arguments(subparser)
            add_plugin_argument(subparser)
            add_verbosity_arguments(subparser)
            subparser.set_defaults(handler=module.run)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done, 1 a check failed, 3 a run failed, and the codes of `pipeline.cli.guarded`.
    """
    words = sys.argv[1:] if arguments is None else arguments
    command = next((word for word in words if word in COMMANDS), None)
    return run_guarded(lambda: _run(command, words), name=f"sharedris {command or ''}".strip())


def _run(command: str | None, arguments: list[str]) -> int:
    load_plugins(plugins_named_in(arguments))
    parsed = build_parser(command).parse_args(arguments)
    with log_to_console(level_of(parsed)), opened_runs(getattr(parsed, "runs", None), _READS.get(command or "", SMALL)):
        return int(parsed.handler(parsed))


if __name__ == "__main__":
    sys.exit(main())
