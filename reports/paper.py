"""What joins each row and column of the paper's ten tables (`pipeline.published`) to our records."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.data.catalog import published_expressions
from pipeline.published.tables import read_footnotes
from pipeline.records import RecordError

PROPOSED = "beit3|fpn=self_attention(3,6,9,12)|decoder=self_attention(1)"
"""The paper's own model."""

NUMERALS = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")

STAND_INS = {
    "refcoco_unc": "toy_unc",
    "refcoco+_unc": "toyplus_unc",
    "refcocog_umd": "toyg_umd",
    "refcocog_google": "",
}
"""The synthetic set of the same flavour, shown (and named) where no run on the real one exists."""

SPLIT_COLUMNS = {
    "RefCOCO val": "refcoco_unc/val",
    "RefCOCO testA": "refcoco_unc/testA",
    "RefCOCO testB": "refcoco_unc/testB",
    "RefCOCO+ val": "refcoco+_unc/val",
    "RefCOCO+ testA": "refcoco+_unc/testA",
    "RefCOCO+ testB": "refcoco+_unc/testB",
    "RefCOCOg val(U)": "refcocog_umd/val",
    "RefCOCOg test(U)": "refcocog_umd/test",
    "RefCOCOg val(G)": "refcocog_google/val",
    "RefCOCOg test(G)": "refcocog_google/val",  # table II's heading; the split does not exist (notes.csv)
}

FULL_SPLITS = {split: published_expressions(split) for split in SPLIT_COLUMNS.values()}
"""Expressions of the splits on which the paper reports: only a record with as many is compared with a printed score."""

METRIC_COLUMNS = {
    "oIoU": "oiou",
    "mIoU": "miou",
    "P@0.5": "precision_at_50",
    "P@0.7": "precision_at_70",
    "P@0.9": "precision_at_90",
}


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """What a table of the paper is.

    `component` says which part of the model its cost cells count: "fpn" (added over "No FPN"), "decoder" (decoder and
    head, absolute) or "total". `metric` is set for the tables whose columns are splits.
    """

    numeral: str
    short: str  # for the contents
    caption: str
    labels: tuple[str, ...] = ()  # columns of text after the method
    first_heading: str = "Methods"
    component: str = ""
    metric: str = ""
    published_split: str = "refcoco+_unc/val"


SPECS = {
    spec.numeral: spec
    for spec in (
        TableSpec(
            numeral="I",
            short="Methods, oIoU",
            caption="oIoU comparison with other RIS methods on RefCOCO, RefCOCO+ and RefCOCOg",
            labels=("Visual", "Textual"),
            metric="oiou",
        ),
        TableSpec(
            numeral="II",
            short="With LLM or SAM",
            caption="oIoU comparison with RIS methods that use additional pre-trained models (LLM or SAM)",
            labels=("Encoders",),
            component="total",
            metric="oiou",
        ),
        TableSpec(
            numeral="III",
            short="Components",
            caption="Ablation study with different components",
            labels=("Shared FPN", "Shared Decoder"),
            first_heading="Components",
        ),
        TableSpec(
            numeral="IV",
            short="Other FPNs",
            caption="Comparison with other FPN methods within the framework, with the shared decoder",
            first_heading="FPN methods",
            component="fpn",
        ),
        TableSpec(
            numeral="V",
            short="Other decoders",
            caption="Comparison with other fusion decoders within Shared-RIS, with the shared FPN",
            first_heading="Decoder",
            component="decoder",
        ),
        TableSpec(
            numeral="VI",
            short="Efficiency",
            caption="Efficiency and performance against recent methods with a single backbone or not",
            labels=("Backbones",),
            component="total",
        ),
        TableSpec(
            numeral="VII",
            short="Shared FPN",
            caption="Ablation on the Shared FPN, with a shared decoder",
            first_heading="Ablations",
            component="fpn",
        ),
        TableSpec(
            numeral="VIII",
            short="Shared decoder",
            caption="Ablation on the Shared Decoder, with a shared FPN",
            first_heading="Ablations",
            component="decoder",
        ),
        TableSpec(
            numeral="IX",
            short="Methods, mIoU",
            caption="mIoU comparison with other RIS methods on RefCOCO, RefCOCO+ and RefCOCOg",
            labels=("Visual", "Textual"),
            metric="miou",
        ),
        TableSpec(
            numeral="X",
            short="Framework",
            caption="Ablation on the framework",
            labels=("Backbone",),
            first_heading="Framework",
        ),
    )
}


def read_notes(numeral: str, part: str = "") -> list[str]:
    """Return the footnotes of a table: conflicts in the paper, restored marks, what our rows assume."""
    notes = read_footnotes()
    of_table = notes[(notes["table"] == numeral) & notes["part"].isin(["", part] if part else notes["part"].unique())]
    heads = {"conflict": "Conflict in the paper", "restored": "Restored mark", "assumed": "Assumed here"}
    return [f"{heads[kind]}: {note}" for kind, note in zip(of_table["kind"], of_table["note"], strict=True)]


def split_name(name: str) -> tuple[str, str]:
    """Return numeral and part letter of a table's name: "VII-a" gives ("VII", "a"), "VII" gives ("VII", "").

    Raises:
        RecordError: for a name that the paper does not have; the message lists those it has.
    """
    numeral, _, letter = name.strip().replace("(", "-").replace(")", "").partition("-")
    numeral, letter = numeral.upper(), letter.lower()
    if numeral not in SPECS or letter not in {"", *part_letters(numeral)}:
        raise RecordError(f"{name!r} is no table of the paper", f"There are: {', '.join(all_names())}")
    return numeral, letter


def part_letters(numeral: str) -> list[str]:
    """Return the letters of a table's parts ("a", "b"), empty where it has none."""
    return ["a", "b"] if numeral in ("VII", "VIII") else []


def all_names() -> list[str]:
    """Return the names of all tables, the parts of VII and VIII apart."""
    names = []
    for numeral in NUMERALS:
        names += [f"{numeral}-{letter}" for letter in part_letters(numeral)] or [numeral]
    return names
