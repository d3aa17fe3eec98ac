"""The published numbers against the paper's own text: nothing mistyped, nothing left out."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline.published.tables import KEY_COLUMNS, number, read_published
from pipeline.records import RecordError
from reports.paper import NUMERALS, SPECS, SPLIT_COLUMNS, read_notes, split_name

PAPER = Path(__file__).parents[3] / "shared" / "paper" / "shared-ris.txt"
ENDS = {
    "I": "TABLE II:",
    "II": "IV-A Implementation Details",
    "III": "TABLE IV:",
    "IV": "TABLE V:",
    "V": "TABLE VI:",
    "VI": "Comparison with other FPNs",
    "VII": "TABLE VIII:",
    "VIII": "Refer to caption",
    "IX": "mIoU Results.",
    "X": "More Visualizations",
}
METHODS = 21  # 16 compared in table I, 4 in table II, and the authors' own


def printed_lines(numeral: str) -> list[str]:
    """Return the lines of a table in the paper's text, caption and headings left out, copying marks removed."""
    if not PAPER.exists():
        pytest.skip("the paper's text is not beside this checkout (../shared/paper/shared-ris.txt)")
    lines = PAPER.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"TABLE {numeral}:"))
    end = next(number for number in range(start, len(lines)) if lines[number].startswith(ENDS[numeral]))
    headings = 2 if numeral in ("I", "II", "IX") else 1
    cleaned = [re.sub(r"\\cdashline\S+", "", line).strip() for line in lines[start + 1 + headings : end]]
    return [re.sub(r"{{\\{{(.*)}}\\}}", r"{\1}", line).replace("∗", "*") for line in cleaned if line]


def words_of(lines: list[str]) -> Counter[str]:
    """Return how often each printed word (numbers, names, citations, dashes) occurs."""
    return Counter(word for line in lines for word in line.split())


@pytest.mark.parametrize("numeral", NUMERALS)
def test_every_printed_word_of_the_table_is_in_its_csv_as_often(numeral: str) -> None:
    printed = words_of(printed_lines(numeral))
    rows = read_published(numeral)
    ours: list[str] = []
    for part in rows["part"].unique():
        ours.append(part)
    for _, row in rows.iterrows():
        marks = "".join(mark for mark in row["marks"] if mark not in row["restored"])
        label = "" if numeral == "III" else f"{row['method']}{marks} {row['citation']}"
        cells = [cell for name, cell in row.items() if name not in KEY_COLUMNS and cell != "✓"]
        ours.append(" ".join([label, *cells]))
    assert words_of(ours) - printed == allowed_extra(numeral)
    assert printed - words_of(ours) == Counter()


def allowed_extra(numeral: str) -> Counter[str]:
    """Return what the CSV repeats where the paper spans rows: a method's second line, a backbone's."""
    if numeral == "VI":
        return Counter({"CGFormer": 1, "[22]": 1, "DMMI": 1, "[4]": 1})
    return Counter({"BEiT-3": 1}) if numeral == "X" else Counter()


@pytest.mark.parametrize("numeral", NUMERALS)
def test_numbers_stand_in_the_printed_order(numeral: str) -> None:
    printed = [re.findall(r"(?<=\s)(?:-|[\d,]+(?:\.\d+)?M?)(?=\s|$)", f" {line}") for line in printed_lines(numeral)]
    rows = read_published(numeral)
    columns = [name for name in rows if name not in (*KEY_COLUMNS, *SPECS[numeral].labels)]
    expected = [list(row) for row in rows[columns].itertuples(index=False)]
    found = [line[-len(columns) :] for line in printed if len(line) >= len(columns)]
    assert found == expected


def test_every_method_is_there_once_by_name() -> None:
    names = {name for numeral in ("I", "II", "VI", "IX") for name in read_published(numeral)["method"]}
    assert len(names) == METHODS


@pytest.mark.parametrize("numeral", NUMERALS)
def test_every_row_of_an_ablation_and_of_ours_has_a_variant(numeral: str) -> None:
    rows = read_published(numeral)
    needs = rows if not SPECS[numeral].metric else rows[rows["method"].str.contains("Ours")]
    assert (needs["variant"] != "").all()
    assert needs["scale"].isin(["base", "large"]).all()


def test_variants_of_the_own_modules_are_those_of_the_model_config() -> None:
    from sharedris.baselines.config import ComparedDecoderConfig, ComparedFpnConfig
    from sharedris.scales import base, large

    own = {
        base().variant,
        large().variant,
        base(fpn=ComparedFpnConfig(kind="none", stages=())).variant,
        base(decoder=ComparedDecoderConfig(kind="bi_direction")).variant,
        base(decoder=ComparedDecoderConfig(kind="none", layers=0)).variant,
        base(fpn=ComparedFpnConfig(stages=(4, 8, 12))).variant,
    }
    joined = {variant for numeral in NUMERALS for variant in read_published(numeral)["variant"]}
    assert own <= joined


def test_columns_of_splits_are_known() -> None:
    for numeral in ("I", "II", "IX"):
        rows = read_published(numeral)
        columns = set(rows) - set(KEY_COLUMNS) - set(SPECS[numeral].labels) - {"GFLOPs"}
        assert columns <= set(SPLIT_COLUMNS)


def test_notes_of_the_known_conflicts_appear_with_their_tables() -> None:
    assert any("69.10" in note and "67.71" in note for note in read_notes("III"))
    assert any("{3,6,8,12}" in note for note in read_notes("VII", "(a) Intermediate Stages"))
    assert not any("{3,6,8,12}" in note for note in read_notes("VII", "(b) Fusion Modules"))
    assert any("test(G)" in note for note in read_notes("II"))
    assert any("62.09" in note for note in read_notes("IX"))


def test_restored_marks_are_marked() -> None:
    for numeral in NUMERALS:
        for _, row in read_published(numeral).iterrows():
            assert row["restored"] == "check marks" or set(row["restored"]) <= set(row["marks"])


@pytest.mark.parametrize(("printed", "value"), [("13,026", 13026.0), ("23M", 23.0), ("81.6", 81.6), ("-", None)])
def test_number_reads_printed_cells(printed: str, value: float | None) -> None:
    assert number(printed) == value


@pytest.mark.parametrize(
    ("name", "expected"), [("VII-a", ("VII", "a")), ("vii(b)", ("VII", "b")), ("X", ("X", "")), ("VIII", ("VIII", ""))]
)
def test_names_of_tables(name: str, expected: tuple[str, str]) -> None:
    assert split_name(name) == expected


@pytest.mark.parametrize("name", ["XI", "III-a", "VII-c", ""])
def test_unknown_tables_are_refused_with_the_list(name: str) -> None:
    with pytest.raises(RecordError, match="VII-a"):
        split_name(name)
