"""Every command that a page shows is one that exists, with options that it takes."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from pipeline.cli.main import build_parser
from reports.__main__ import main as reports_main
from sweeps.__main__ import main as sweeps_main

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands_of(page: Path) -> list[str]:
    """The indented lines of a page that begin with one of our commands, without their comments."""
    lines = re.findall(r"^(?: {4}|\t)\$? ?(.*)$", page.read_text(), re.MULTILINE)
    return [line for line in lines if re.match(r"(make|sharedris|python -m (sweeps|reports))\b", line)]


COMMANDS = [(page.name, line) for page in PAGES for line in commands_of(page)]


def test_the_readme_shows_commands() -> None:
    assert sum(name == "README.md" for name, _ in COMMANDS) >= 10


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page}: {line[:60]}" for page, line in COMMANDS])
def test_a_shown_command_exists(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    elif words[0] == "sharedris":
        known = build_parser(words[1]).parse_args(words[1:])
        assert known.command == words[1]
    else:
        # The parsers are inside the commands: an unknown option makes them end with 2, `--help` after it with 0.
        run = sweeps_main if words[2] == "sweeps" else reports_main
        with pytest.raises(SystemExit) as ended:
            run([*words[3:], "--help"])
        assert ended.value.code == 0
