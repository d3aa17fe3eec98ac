"""The completion scripts know every command, and bash reads its own."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from pipeline.cli.commands import COMMANDS
from pipeline.cli.completion import completion_script


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_script_names_every_command(shell: str) -> None:
    script = completion_script(shell)
    assert all(path[-1] in script for path in COMMANDS)
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n"], input=script, text=True, check=True)
