"""Where runs live: a folder, or a prefix of an object store with a working folder on this machine.

    CACHE/STORE/runs/            what the driver and the commands read and write; `.origin.json` names the prefix
    CACHE/STORE/workers/RUN/     the same for the workers of a run on this node

CACHE is SHAREDRIS_CACHE, or `sharedris` in the user's cache folder. All other code sees a folder, as without a store.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.files import read_json, write_json
from sharedris.errors import InputError

_ORIGIN = ".origin.json"
_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl")


def runs_folder(text: str) -> Path:
    """Return the root of the runs from a command line; of a URL, the working folder that is bound to it.

    Raises:
        InputError: for a URL that is not a prefix of an object store, and for one that holds a secret.
    """
    if "://" not in text:
        return Path(text)
    try:
        return working_folder(_checked(text))
    except OSError as error:
        raise InputError(
            f"the working folder of {text} cannot be written: {error.strerror} ({error.filename})",
            "Set SHAREDRIS_CACHE to another place",
        ) from None


def _checked(text: str) -> str:
    """Return the URL without a closing slash."""
    try:
        parts = urlsplit(text)
        has_secret = bool(parts.username or parts.password or parts.query or parts.fragment)
    except ValueError:
        raise InputError("the URL of the runs cannot be read", "Write s3://BUCKET/PREFIX") from None
    if has_secret and not parts.scheme.startswith("abfs"):  # abfs://CONTAINER@ACCOUNT
        raise InputError(
            f"{parts.scheme}://... must be a bucket and a prefix only", "Put credentials into the environment"
        )
    if parts.scheme not in _SCHEMES or not parts.netloc:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise InputError(f"{text} is neither a folder nor BUCKET/PREFIX of {known}", "See docs/cluster.md")
    return text.rstrip("/")


def working_folder(url: str, place: str = "runs") -> Path:
    """Return the working folder of a prefix on this machine, made where it is missing.

    Args:
        url: of the prefix.
        place: `runs`, or `workers/RUN` for the workers of a run.
    """
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", url.partition("://")[2])[-60:].strip("-.")
    folder = cache_root() / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}" / place
    folder.mkdir(parents=True, exist_ok=True)
    if origin_of(folder) != url:
        write_json(folder / _ORIGIN, {"url": url})
    return folder


def cache_root() -> Path:
    """Return where the working folders of all prefixes lie."""
    own = os.environ.get("SHAREDRIS_CACHE")
    if own:
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "sharedris"


def origin_of(root: Path) -> str | None:
    """Return the URL that a working folder is bound to; None for a plain folder."""
    values = read_json(root / _ORIGIN)
    url = values.get("url") if isinstance(values, dict) else None
    return url if isinstance(url, str) else None


def shown(root: Path) -> str:
    """Return the root of the runs as the user names it."""
    return origin_of(root) or str(root)
