"""Forms of predictions by name: `sharedris score PREDICTIONS --format NAME`; without it, the content decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.predictions.form import Prediction
from pipeline.predictions.json_files import read_array, read_lines
from pipeline.predictions.mask_folder import CRIS_NAME, names_in, read_archive, read_cris, read_masks
from pipeline.predictions.parquet_file import read_parquet
from sharedris.errors import InputError
from sharedris.regular_file import open_regular

_START_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class PredictionReader:
    """One form of predictions.

    Attributes:
        words: the form in words, for messages.
        of_folder: whether it is a folder.
        fits: (path, first bytes of the file, or b"") -> whether the content is of this form.
        read: path -> predictions, one at a time.
    """

    words: str
    of_folder: bool = False
    fits: Callable[[Path, bytes], bool]
    read: Callable[[Path], Iterator[Prediction]]


def _starts(*signatures: bytes) -> Callable[[Path, bytes], bool]:
    return lambda path, start: start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(signatures)


PREDICTION_READERS: dict[str, PredictionReader] = {
    "lines": PredictionReader(words="JSON Lines", fits=_starts(b"{"), read=read_lines),
    "array": PredictionReader(words="one JSON array", fits=_starts(b"["), read=read_array),
    "parquet": PredictionReader(words="parquet", fits=_starts(b"PAR1"), read=read_parquet),
    "npz": PredictionReader(words="one .npz file", fits=_starts(b"PK\x03\x04", b"PK\x05\x06"), read=read_archive),
    "cris": PredictionReader(
        words="CRIS's folder of visualize",
        of_folder=True,
        fits=lambda path, _: any(CRIS_NAME.fullmatch(name) for name in names_in(path)),
        read=read_cris,
    ),
    "masks": PredictionReader(
        words="a folder of PNG, .npy or .npz files", of_folder=True, fits=lambda *_: True, read=read_masks
    ),
}
"""Name -> reader. The first that fits reads the predictions; `masks` fits every folder, so that a plugin's reader of
folders needs `--format`. Read it when it is needed and keep no copy: plugins add to it."""


def choose_reader(path: Path, name: str | None = None) -> str:
    """Return the name of the reader of some predictions: the one named, or the first that fits.

    Raises:
        InputError: when there is nothing at the path, no reader fits, or the named one reads no such thing.
    """
    is_folder = path.is_dir()
    start = b""
    if not is_folder:
        with open_regular(path) as stream:
            start = stream.read(_START_BYTES)
    if name is not None:
        if PREDICTION_READERS[name].of_folder != is_folder:
            raise InputError(f"{path} is a {'folder' if is_folder else 'file'}", f"--format {name} reads the other")
        return name
    for each, reader in PREDICTION_READERS.items():
        if reader.of_folder == is_folder and reader.fits(path, start):
            return each
    known = "; ".join(reader.words for reader in PREDICTION_READERS.values())
    raise InputError(f"{path} is of no known form", f"Read are: {known} (docs/score.md)")
