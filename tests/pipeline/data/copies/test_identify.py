"""Damage planted into every form of a copy is found, and nothing else is reported."""

from __future__ import annotations

import json
import pickle
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.cli import identify as command
from pipeline.cli.main import main
from pipeline.data.catalog import SETS
from pipeline.data.copies.findings import NOTES
from pipeline.data.copies.identify import Identity, identify
from pipeline.data.copies.index import ReferenceIndex, entries_of_refs, index_refer, load_index, save_index
from pipeline.data.copies.report import identity_text
from sharedris.errors import InputError
from tests.pipeline.data.copies.copy_forms import (
    FORMS,
    ONE_SENTENCE_A_ROW,
    WITHOUT_REF_IDS,
    Ref,
    Splits,
    duplicate,
    splits_of,
    synthetic_refs,
    write_json,
    write_pickle,
    write_root,
)


@dataclass(frozen=True)
class Known:
    """A REFER root, its index, and the other partition and set in it."""

    root: Path
    index: ReferenceIndex
    unc: Splits
    google: Splits
    plus: Splits


def _known(root: Path) -> Known:
    return Known(
        root,
        index_refer(root),
        splits_of(root),
        splits_of(root, partition="google"),
        splits_of(root, "refcoco+"),
    )


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Known:
    return _known(write_root(tmp_path_factory.mktemp("synthetic"), synthetic_refs()))


@pytest.fixture(scope="module")
def real_refs(shared_data: Path) -> list[Ref]:
    refs: list[Ref] = pickle.loads((shared_data / "refcoco-annotations" / "refcoco" / "refs(unc).p").read_bytes())
    return refs


@pytest.fixture(scope="module")
def real(real_refs: list[Ref], tmp_path_factory: pytest.TempPathFactory) -> Known:
    """About 20 images of the real val, testA and testB."""
    refs = [ref for ref in real_refs if ref["image_id"] % 160 == 0]
    return _known(write_root(tmp_path_factory.mktemp("real"), refs))


def _clear(refs: list[Ref]) -> list[Ref]:
    """Refs of at least two sentences of which no other ref of the same image has one."""
    used = Counter((ref["image_id"], each["sent"]) for ref in refs for each in ref["sentences"])
    return [
        ref
        for ref in refs
        if len(ref["sentences"]) > 1 and all(used[ref["image_id"], each["sent"]] == 1 for each in ref["sentences"])
    ]


def _nothing(splits: Splits, known: Known, form: str) -> dict[str, int]:
    return {}


def _dropped(splits: Splits, known: Known, form: str) -> dict[str, int]:
    for ref in _clear(splits["val"])[:3]:
        splits["val"].remove(ref)
    return {"missing ref": 3}


def _doubled(splits: Splits, known: Known, form: str) -> dict[str, int]:
    again = _clear(splits["testA"])[1:4]
    splits["testA"] += again
    if form in ONE_SENTENCE_A_ROW:
        return {"doubled sentence": sum(len(ref["sentences"]) for ref in again)}
    return {"doubled row": 3}


def _swapped(splits: Splits, known: Known, form: str) -> dict[str, int]:
    splits["val"], splits["testA"] = splits["testA"], splits["val"]
    if form == "tsv":
        return {"wrong split": sum(len(ref["sentences"]) for split in ("val", "testA") for ref in splits[split])}
    return {"wrong split": len(splits["val"]) + len(splits["testA"])}


def _moved(splits: Splits, known: Known, form: str) -> dict[str, int]:
    moved = _clear(splits["testB"])[:4]
    for ref in moved:
        splits["testB"].remove(ref)
        splits["val"].append(ref)
    rows = sum(len(ref["sentences"]) for ref in moved) if form == "tsv" else 4
    return {"missing ref": 4, "mixed in": rows}


def _upper_case(splits: Splits, known: Known, form: str) -> dict[str, int]:
    for ref in _clear(splits["val"])[:5]:
        ref["sentences"][1]["sent"] = ref["sentences"][1]["sent"].upper()
    return {"respelled sentence": 5}


def _raw(splits: Splits, known: Known, form: str) -> dict[str, int]:
    changed = 0
    for ref in splits["val"]:
        for each in ref["sentences"]:
            changed += each["sent"] != each["raw"]
            each["sent"] = each["raw"]
    return {"raw sentence": changed} if changed else {}


def _other_words(splits: Splits, known: Known, form: str) -> dict[str, int]:
    for number, ref in enumerate(_clear(splits["testA"])[:3]):
        ref["sentences"][1]["sent"] = f"entirely new words {number}"
    return {"altered sentence": 3}


def _lost_sentence(splits: Splits, known: Known, form: str) -> dict[str, int]:
    for ref in _clear(splits["testB"])[:3]:
        del ref["sentences"][1]
    return {"missing sentence": 3}


def _other_set(splits: Splits, known: Known, form: str) -> dict[str, int]:
    added = known.plus["val"][:5]
    splits["val"] += added
    return {"mixed in": sum(len(ref["sentences"]) for ref in added) if form == "tsv" else 5}


def _renumbered(splits: Splits, known: Known, form: str) -> dict[str, int]:
    refs = [ref for split in splits.values() for ref in split]
    for ref in refs:
        ref["ref_id"] += 5_000_000
    return {} if form in WITHOUT_REF_IDS else {"other ref_id": len(refs)}


def _other_images(splits: Splits, known: Known, form: str) -> dict[str, int]:
    """Images numbered anew: where a form keeps COCO's file names or ref ids, its refs are still found."""
    if form == "tsv":
        return {}
    refs = [ref for split in splits.values() for ref in split]
    for ref in refs:
        ref["image_id"] += 7
    return {} if form == "lmms" else {"other image_id": len(refs)}


def _in_two(splits: Splits, known: Known, form: str) -> dict[str, int]:
    twice = _clear(splits["testA"])[:2]
    splits["val"] += twice
    rows = sum(len(ref["sentences"]) for ref in twice) if form == "tsv" else 2
    return {"mixed in": rows, "in two splits": 2}


def _unheard(splits: Splits, known: Known, form: str) -> dict[str, int]:
    strange = duplicate(_clear(splits["val"])[0])
    strange.update(image_id=999_999_999, file_name="COCO_train2014_999999999999_1.jpg", ref_id=88_888_888)
    strange["sentences"] = [{"sent": "a stranger", "raw": "a stranger", "sent_id": 1, "tokens": []}]
    splits["val"].append(strange)
    return {"unknown row": 1}


def _shuffled(splits: Splits, known: Known, form: str) -> dict[str, int]:
    for refs in splits.values():
        random.Random(0).shuffle(refs)
    return {}


DAMAGE: list[Callable[[Splits, Known, str], dict[str, int]]] = [
    _nothing,
    _dropped,
    _doubled,
    _swapped,
    _moved,
    _upper_case,
    _raw,
    _other_words,
    _lost_sentence,
    _other_set,
    _renumbered,
    _other_images,
    _in_two,
    _unheard,
    _shuffled,
]


def _damage(identity: Identity) -> Counter[str]:
    found: Counter[str] = Counter()
    for finding in identity.findings:
        found[finding.kind] += finding.count if finding.is_damage else 0
    return +found


@pytest.mark.parametrize(
    ("form", "source"),
    [
        *(
            pytest.param(form, "synthetic", marks=[pytest.mark.slow] if form in ("lmms", "jxu124") else [])
            for form in FORMS
        ),
        pytest.param("lmms", "real", marks=pytest.mark.slow),
        ("tsv", "real"),
    ],
)
def test_planted_damage_is_found_and_nothing_else(
    form: str, source: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    known: Known = request.getfixturevalue(source)
    for plant in DAMAGE:
        splits = duplicate(known.unc)
        expected = plant(splits, known, form)
        folder = tmp_path / plant.__name__
        folder.mkdir()
        FORMS[form](folder, splits)
        (identity,) = identify(folder, known.index)
        assert _damage(identity) == expected, plant.__name__
        assert identity.is_whole == (not expected), plant.__name__
        assert identity.main == "refcoco_unc"
        notes = {finding.kind for finding in identity.findings if not finding.is_damage}
        assert notes <= NOTES
        if plant is _shuffled:
            assert notes == {"other order"}
        elif plant is _nothing:
            assert not notes


@pytest.mark.parametrize("source", ["synthetic", "real"])
@pytest.mark.parametrize("form", ["lmms", "json"])
def test_a_split_that_joins_two_partitions_is_taken_apart(
    form: str, source: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    known: Known = request.getfixturevalue(source)
    both = duplicate(known.unc["val"] + known.google["val"])
    FORMS[form](tmp_path, {"val": both})
    (identity,) = identify(tmp_path, known.index)
    parts = {part: (rows, complete) for part, rows, complete in identity.splits[0].parts}
    unc, google = len(known.unc["val"]), len(known.google["val"])
    assert parts == {("refcoco_unc", "val"): (unc, 1.0), ("refcoco_google", "val"): (google, 1.0)}
    assert _damage(identity)["mixed in"] in (unc, google)
    assert set(_damage(identity)) == {"mixed in"}
    leaked = {leak.training: leak for leak in identity.leaks}
    in_google_train = {ref["ref_id"] for ref in known.google["train"]} & {ref["ref_id"] for ref in both}
    assert leaked["refcoco_google/train"].refs == len(in_google_train)


def test_a_copy_that_names_a_split_its_own_way_is_whole(synthetic: Known, tmp_path: Path) -> None:
    FORMS["lmms"](tmp_path, {"test": synthetic.unc["testA"]})
    (identity,) = identify(tmp_path, synthetic.index)
    assert identity.is_whole
    assert {finding.kind for finding in identity.findings} == {"renamed split"}


def test_what_the_index_lacks_is_not_called_unknown(synthetic: Known, tmp_path: Path) -> None:
    entries = [entry for entry in synthetic.index.entries if entry.part != ("refcoco_unc", "train")]
    small = ReferenceIndex([entry for entry in entries if entry.part[0] == "refcoco_unc"])
    write_pickle(tmp_path, synthetic.unc)
    (identity,) = identify(tmp_path, small)
    assert _damage(identity) == {"not indexed": len(synthetic.unc["train"])}
    assert not identity.is_whole


def test_an_index_on_disk_finds_the_same_and_holds_no_text(synthetic: Known, tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    save_index(synthetic.index, path)
    assert load_index(path).entries == synthetic.index.entries
    assert b"door" not in path.read_bytes()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="Write it again"):
        load_index(path)


def test_lists_of_a_json_object_are_splits_only_by_their_names(synthetic: Known, tmp_path: Path) -> None:
    """`{"val": [..], "testA": [..]}` names splits, `{"COCO_train2014_..": [..]}` names images."""
    rows = {
        split: [{"ref_id": ref["ref_id"], "image_id": ref["image_id"], **_first(ref)} for ref in refs]
        for split, refs in synthetic.unc.items()
    }
    (tmp_path / "a.json").write_text(json.dumps(rows))
    by_image = {ref["file_name"]: [row] for ref, row in zip(synthetic.unc["val"], rows["val"], strict=True)}
    (tmp_path / "b_val.json").write_text(json.dumps(by_image))
    first, second = identify(tmp_path, synthetic.index)
    assert first.is_whole
    assert second.is_whole
    assert [split.size.split for split in second.splits] == ["val"]


def _first(ref: Ref) -> Ref:
    return {"sents": [each["sent"] for each in ref["sentences"]]}


COUNTS = {
    "val": (["refcoco_unc/val", "refcoco_google/val"], 8811),
    "test": (["refcoco_google/test"], 5000),
    "testA": (["refcoco_unc/testA"], 1975),
}


def test_the_most_used_copy_is_known_by_its_counts(tmp_path: Path) -> None:
    """lmms-lab/RefCOCO: 8,811, 5,000, 1,975 and 1,810 rows."""
    image = 0
    for split, (_, count) in COUNTS.items():
        rows = [{"image_id": image + number, "answer": ["words"]} for number in range(count)]
        (tmp_path / f"{split}.json").write_text(json.dumps(rows))
        image += count
    (identity,) = identify(tmp_path, None)
    for split in identity.splits:
        assert ["/".join(part) for part in split.guesses[0].parts] == COUNTS[split.size.split][0]
    assert not identity.is_whole
    assert "val = by counts refcoco_unc/val + refcoco_google/val, 8,811 refs" in identity_text([identity])


def test_the_real_annotations_are_whole_by_ids_and_by_counts(real_refs: list[Ref], tmp_path: Path) -> None:
    write_json(
        tmp_path, {name: [ref for ref in real_refs if ref["split"] == name] for name in ("val", "testA", "testB")}
    )
    (identity,) = identify(tmp_path, ReferenceIndex(list(entries_of_refs(real_refs, "refcoco_unc", name="refs"))))
    assert identity.is_whole
    parts = {part[1]: rows for split in identity.splits for part, rows, _ in split.parts}
    assert parts == {part: SETS["refcoco_unc"].published[part].refs for part in ("val", "testA", "testB")}
    (counted,) = identify(tmp_path, None)
    assert counted.is_whole


def test_the_command_prints_and_returns(
    synthetic: Known, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder in (good, bad):
        folder.mkdir()
    write_pickle(good, synthetic.unc)
    write_pickle(bad, {**synthetic.unc, "val": synthetic.unc["val"][1:]})
    assert main(["data", "identify", str(good)]) == 1  # sizes of no published set
    assert main(["data", "identify", "--build-index", str(synthetic.root)]) == 0
    assert Path(command.DEFAULT_INDEX).is_file()
    capsys.readouterr()
    assert main(["data", "identify", str(good)]) == 0
    assert "whole: refcoco_unc/testA" in capsys.readouterr().out
    assert main(["data", "identify", str(bad), "--refer", str(synthetic.root), "--json", "found.json"]) == 1
    assert "not as published: 1 x missing ref" in capsys.readouterr().out
    (found,) = json.loads(Path("found.json").read_text())
    assert [finding["kind"] for finding in found["findings"]] == ["missing ref"]
    assert main(["data", "identify", "nowhere"]) == 2
    assert main(["data", "identify", str(good), "--index", "found.json"]) == 2
    assert main(["data", "identify"]) == 2


def test_an_index_whose_column_names_are_no_utf8_is_one_line(synthetic: Known, tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    save_index(synthetic.index, path)
    path.write_bytes(path.read_bytes().replace(b"ref_id", b"re\xff_id"))
    with pytest.raises(InputError, match=r"index\.parquet cannot be read"):
        load_index(path)
