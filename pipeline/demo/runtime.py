"""onnxruntime-web, which runs a model in a browser: one pinned version, checked by its digest, kept in a cache.

npm's package is the only form in which its makers publish it. `npm pack` fetches the archive from the registry that the
user has set up; nothing of it is run here, and two of its files go into the page.
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import atomic_writer
from sharedris.errors import InputError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of the archive, in the form of the registry's field of that name."""

_SCRIPT = "package/dist/ort.wasm.bundle.min.mjs"
_WASM = "package/dist/ort-wasm-simd-threaded.wasm"
_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class WebRuntime:
    """The two files that a page needs."""

    script: bytes
    wasm: bytes


def load_runtime(archive: Path | None = None) -> WebRuntime:
    """Return the runtime of an archive that the user names, of the cache, or fetched by npm.

    Raises:
        InputError: when there is none and it cannot be fetched, or it is not the pinned version.
    """
    path = archive or _cached()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", _remedy()) from None
    if f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}" != INTEGRITY:
        raise InputError(f"{path} is not {PACKAGE} {VERSION}: its SHA-512 is another one", _remedy())
    with tarfile.open(path) as members:
        files = [members.extractfile(name) for name in (_SCRIPT, _WASM)]
        script, wasm = (file.read() for file in files if file is not None)
    return WebRuntime(script=script, wasm=wasm)


def _remedy() -> str:
    name = f"{PACKAGE}-{VERSION}.tgz"
    return f"Run `npm pack {PACKAGE}@{VERSION}` where there is a network, and give --runtime {name}"


def cache_folder() -> Path:
    """Return the folder for files that can be fetched again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shared-ris"


def _cached() -> Path:
    """Return the archive of the cache, fetched first where it is not there."""
    path = cache_folder() / f"{PACKAGE}-{VERSION}.tgz"
    if not path.exists():
        with tempfile.TemporaryDirectory() as folder:
            _npm_pack(Path(folder))
            with atomic_writer(path) as stream:
                stream.write((Path(folder) / path.name).read_bytes())
    return path


def _npm_pack(folder: Path) -> None:
    words = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--silent"]
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = "npm is not installed" if isinstance(error, FileNotFoundError) else str(error)
        raise InputError(f"{PACKAGE} {VERSION} was not fetched: {reason}", _remedy()) from None
    if not (folder / f"{PACKAGE}-{VERSION}.tgz").exists():
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        raise InputError(f"{PACKAGE} {VERSION} was not fetched: {reason}", _remedy())
