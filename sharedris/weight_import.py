"""What an import of foreign weights reports and refuses, whatever the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from sharedris.errors import InputError

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """The result for each foreign name; `missing` and `unexpected` are empty after a successful import."""

    matched: tuple[str, ...]
    resized: tuple[str, ...]
    ignored: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def require_whole(report: ImportReport, weights: Mapping[str, Tensor], path: Path | str, remedy: str) -> None:
    """Check that a file has every parameter and no other, and that all numbers are finite.

    Raises:
        InputError: naming the first few parameters.
    """
    refuse(path, "lacks", report.missing, remedy)
    refuse(path, "has unexpected", report.unexpected, remedy)
    not_finite = [name for name in weights if not weights[name].isfinite().all()]
    refuse(path, "has values that are not finite in", not_finite, remedy)


def refuse(path: Path | str, what: str, names: Sequence[str], remedy: str) -> None:
    """Refuse a file where there are names.

    Raises:
        InputError: naming the first few.
    """
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise InputError(f"{path} {what} {', '.join(names[:_SHOWN])}{more}; nothing was loaded", remedy)
