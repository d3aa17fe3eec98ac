"""Own data of a test: files and lines, prepared, checked and opened as training and evaluation do."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pipeline.cli import check as check_command
from pipeline.cli import prepare as prepare_command
from pipeline.data.dataset.refer_dataset import ReferDataset

SET = "mine"
SIZE = 32


def write_lines(folder: Path, *rows: dict[str, Any]) -> Path:
    """Write an annotation file; absent fields get a value."""
    path = folder / "refs.jsonl"
    lines = [json.dumps({"split": "train", "expressions": ["the patch", "red one"], **row}) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def prepare(annotations: Path, out: Path, *words: str) -> int:
    """Run `sharedris prepare custom`."""
    parser = argparse.ArgumentParser()
    prepare_command.add_arguments(parser)
    options = ["custom", "--annotations", str(annotations), "--set", SET, "--out", str(out), *words]
    return prepare_command.run(parser.parse_args(options))


def check(annotations: Path, report: Path) -> tuple[int, dict[str, str]]:
    """Run `sharedris check`; return its exit code, and the level of each kind of finding."""
    parser = argparse.ArgumentParser()
    check_command.add_arguments(parser)
    options = [SET, "--annotations", str(annotations), "--json", str(report)]
    code = check_command.run(parser.parse_args(options))
    return code, {finding["kind"]: finding["level"] for finding in json.loads(report.read_text())["findings"]}


def open_split(out: Path, split: str = "train", size: int = SIZE) -> ReferDataset:
    """Return a prepared split as training and evaluation read it."""
    return ReferDataset(out, f"{SET}/{split}", image_size=size, text_tokens=10)
