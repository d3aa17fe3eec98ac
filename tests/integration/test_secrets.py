"""What is secret in the environment of a sweep stands in no file that it leaves, Ray's session folder included."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import RunConfig
from sharedris.config import to_dict
from tests.integration.test_sweep import environment

PLANTED = {
    "AWS_ACCESS_KEY_ID": "planted-key-id-0x51",
    "AWS_SECRET_ACCESS_KEY": "planted-secret-0x52",
    "AWS_SESSION_TOKEN": "planted-session-0x53",
    "HF_TOKEN": "planted-token-0x54",
    "MY_PASSWORD": "planted-password-0x55",
}


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose name is short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def files_with(text: str, folder: Path) -> list[Path]:
    """Return the files below a folder that hold a text."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            try:
                if text.encode() in path.read_bytes():
                    found.append(path)
            except OSError:
                continue
    return found


@pytest.mark.slow
def test_no_file_of_a_sweep_holds_a_secret(
    toy_root: Path, micro_run: RunConfig, tmp_path: Path, short_folder: Path
) -> None:
    config, home = tmp_path / "config.json", tmp_path / "home"
    home.mkdir()
    config.write_text(json.dumps(to_dict(micro_run)))
    names = {"RAY_TMPDIR": str(short_folder), "HOME": str(home), "TMPDIR": str(short_folder)}
    # Ray in this process, of tests before this one, may have set how to authenticate.
    inherited = {name: value for name, value in environment().items() if not name.startswith("RAY_AUTH_")}
    clean = {**inherited, **names, **PLANTED}
    command = [
        sys.executable,
        "-m",
        "tests.integration.micro_sweep",
        str(toy_root),
        str(tmp_path / "runs"),
        str(config),
    ]
    ended = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 3, ended.stdout + ended.stderr
    (tmp_path / "output").write_text(ended.stdout + ended.stderr)
    assert list(short_folder.glob("ray/session_*/logs/*")), "Ray's logs are searched"
    assert files_with("T/No FPN", tmp_path), "the search finds what is there"
    for name, value in PLANTED.items():
        assert not files_with(value, short_folder) + files_with(value, tmp_path), name
    assert not list(home.rglob("auth_token")), "the token of a private Ray is in no file"
