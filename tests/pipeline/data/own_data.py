"""Own data of a test: files and lines, prepared, checked and opened as training and evaluation do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.cli import check as check_command
from pipeline.cli import prepare_custom as prepare_command
from pipeline.cli.parsing import read_options
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
    """Run `sharedris data prepare custom`."""
    options = ["--annotations", str(annotations), "--data", SET, "--out", str(out), *words]
    return prepare_command.run(read_options(prepare_command.Options, options))


def check(annotations: Path, report: Path) -> tuple[int, dict[str, str]]:
    """Run `sharedris data check`; return its exit code, and the level of each kind of finding."""
    options = [SET, "--annotations", str(annotations), "--out", str(report)]
    code = check_command.run(read_options(check_command.Options, options))
    return code, {finding["kind"]: finding["level"] for finding in json.loads(report.read_text())["findings"]}


def open_split(out: Path, split: str = "train", size: int = SIZE) -> ReferDataset:
    """Return a prepared split as training and evaluation read it."""
    return ReferDataset(out, f"{SET}/{split}", image_size=size, text_tokens=10)
