"""A run as a folder of the Hub: its card states the record, and what is pushed comes back as the same model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, constants

import sharedris
from pipeline.cli.main import main
from pipeline.model_export.data_license import license_of, model_license
from pipeline.records import RECORD_SCHEMA, read_table, record_path
from sharedris import Predictor, SharedRis, load_model
from sharedris.checkpoint import SavedModel
from sharedris.errors import InputError
from sharedris.hub import FILES
from tests.pipeline.model_export.conftest import RECORDED
from tests.pipeline.model_export.hub_server import local_hub

RUNS = Path(__file__).parents[2] / "golden" / "records" / "v1"


@pytest.fixture(scope="module")
def folder(saved: SavedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sharedris export --format hub` writes."""
    out = tmp_path_factory.mktemp("hub") / "model"
    model = str(saved.tokenizer_path.parent)
    assert main(["export", model, "--format", "hub", "--out", str(out), "--runs", str(RUNS)]) == 0
    return out


def test_the_folder_loads_as_before_and_by_the_hubs_methods(saved: SavedModel, folder: Path, tmp_path: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    loaded = SharedRis.from_pretrained(folder)
    (tmp_path / "kept.txt").write_text("mine")
    loaded.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*FILES, "kept.txt"])
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    again = load_model(tmp_path)
    assert again.threshold == loaded.origin.threshold == saved.threshold
    for name, tensor in saved.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    assert Predictor.from_pretrained(tmp_path).threshold == saved.threshold


def test_the_card_states_the_record(folder: Path) -> None:
    card = ModelCard.load(folder / "README.md")
    row = read_table(record_path(RUNS, RECORDED), RECORD_SCHEMA).set_index("protocol").loc["original"]
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["oiou"].metric_value == round(100 * row["oiou"], 2)
    assert results["miou"].dataset_name == row["split"]
    assert (card.data.license, card.data.library_name, card.data.model_name) == ("mit", "shared-ris", RECORDED)
    for stated in (row["data_fingerprint"], row["git_commit"], f"seed 0: {100 * row['oiou']:.2f}", "drawn scenes only"):
        assert stated in card.text
    assert "was not measured" in card.text
    assert "toyplus_unc/testA" in card.text.split("## Not tested on")[1]


def test_licenses_of_data_are_stated_or_called_unknown() -> None:
    assert "Flickr" in license_of("refcoco+_unc")
    assert "not known" in license_of("mine")
    assert model_license(["toy_unc"]) == "mit"
    assert model_license(["toy_unc", "refcoco_unc"]) == "other"


def test_folders_that_cannot_be_right_are_one_line(
    saved: SavedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(saved.tokenizer_path.parent), "--format", "hub", "--out", str(tmp_path)]
    assert main([*words, "--runs", str(tmp_path / "none")]) == 2
    assert "has no record" in capsys.readouterr().err
    (tmp_path / "secret.txt").write_text("not for the Hub")
    assert main([*words, "--runs", str(RUNS), "--push", "user/name"]) == 2
    assert "holds other files: secret.txt" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"no/such/folder is not a folder, and not the id of a model"):
        SharedRis.from_pretrained("no/such/folder")
    shutil.copytree(saved.tokenizer_path.parent, tmp_path / "damaged")
    (tmp_path / "damaged" / "config.json").write_text("[]")
    with pytest.raises(InputError, match="not the config of a model"):
        SharedRis.from_pretrained(tmp_path / "damaged")


def test_a_model_without_a_card_gets_one_that_states_no_scores(saved: SavedModel, tmp_path: Path) -> None:
    SharedRis.from_pretrained(saved.tokenizer_path.parent).save_pretrained(tmp_path)
    assert "not stated here" in (tmp_path / "README.md").read_text()


def test_the_package_names_what_users_import() -> None:
    assert set(sharedris.__all__) <= set(dir(sharedris))
    assert sharedris.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sharedris.nothing


@pytest.mark.slow
def test_a_pushed_folder_comes_back_as_the_same_model(
    saved: SavedModel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with local_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        words = ["export", str(saved.tokenizer_path.parent), "--format", "hub", "--runs", str(RUNS)]
        assert main([*words, "--out", str(tmp_path / "model"), "--push", "user/name"]) == 0
        assert "pushed" in capsys.readouterr().out
        assert "private" in (hub.created.get("visibility"), *(name for name, on in hub.created.items() if on is True))
        assert hub.files == {name: (folder / name).read_bytes() for name in FILES}
        hub.files["train.py"] = b"raise SystemExit"
        found = SharedRis.from_pretrained("user/name", cache_dir=tmp_path / "cache")
        assert sorted(hub.fetched) == sorted(FILES)
        for name, tensor in saved.model.state_dict().items():
            assert torch.equal(tensor, found.state_dict()[name])
        found.push_to_hub("user/name")
        assert hub.files["README.md"] == (folder / "README.md").read_bytes()
    # At another port: a connection that is still open to the first one is answered after the server has ended.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:1/{repo_id}/resolve/{revision}/{filename}"
    )
    with pytest.raises(InputError, match="cannot be fetched from the Hub"):
        SharedRis.from_pretrained("user/name", cache_dir=tmp_path / "other")
