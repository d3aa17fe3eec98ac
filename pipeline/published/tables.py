"""The paper's ten tables, every cell as printed ("13,026", "23M", "-"): one CSV file per table.

Columns before the paper's: `part` (heading inside the table), `method`, `citation`, `marks`, `restored` (marks that the
text copy lost and that follow from the text), `variant` (ModelConfig.variant, or a key of the same pattern for a module
that is not ours), `scale`, `trained_on` ("each" data set separately, or all "combined"). `notes.csv` holds footnotes,
`citations.csv` the BibTeX keys.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parent
KEY_COLUMNS = ("part", "method", "citation", "marks", "restored", "variant", "scale", "trained_on")


@functools.cache
def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(FOLDER / f"{name}.csv", dtype=str, keep_default_na=False)


def read_published(numeral: str) -> pd.DataFrame:
    """Return a published table ("VII"), every cell as the text that the paper prints."""
    return _read(numeral).copy()


def read_footnotes() -> pd.DataFrame:
    """Return the footnotes of all tables: `table`, `part`, `kind` and `note`."""
    return _read("notes").copy()


@functools.cache
def citation_keys() -> dict[str, str]:
    """Return the paper's reference ("[21]") -> its key in references.bib."""
    rows = _read("citations")
    return dict(zip(rows["citation"], rows["key"], strict=True))


def read_bibliography() -> str:
    """Return references.bib: the systems of the tables, the encoder and the data sets, as the paper lists them."""
    return (FOLDER / "references.bib").read_text(encoding="utf-8")


def number(printed: str) -> float | None:
    """Return the number that a printed cell holds ("13,026", "23M"), or None for "-" and text."""
    match = re.fullmatch(r"([\d,]+(?:\.\d+)?)M?", printed.strip())
    return float(match[1].replace(",", "")) if match else None
