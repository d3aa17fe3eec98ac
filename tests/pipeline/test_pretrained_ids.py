"""Swin and BERT start from a folder of import-dual, in runs that are named by it and read BERT's own word pieces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.cli import import_dual
from pipeline.cli.main import main
from pipeline.config import ExecutionConfig, RunConfig, replace_at
from pipeline.job import Job, resolve_job
from pipeline.pretrained_ids import dual_sha256, named_by_its_weights
from pipeline.run import run_in_process
from pipeline.training.pretrained import load_initial_weights
from sharedris.baselines.bert_swin_weights import load_swin
from sharedris.baselines.config import BertConfig, CgformerConfig, SwinConfig, SystemConfig
from sharedris.baselines.swin import Swin
from sharedris.baselines.wordpiece import WordPieceTokenizer
from sharedris.build import build_model
from sharedris.errors import InputError
from sharedris.predictor import Predictor
from sharedris.tokenizers import open_tokenizer
from tests.conftest import TOY

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "baselines" / "encoders.safetensors"
SWIN = SwinConfig(width=8, depths=(2, 2, 2, 2), heads=(1, 2, 2, 4), window=4)
BERT = BertConfig(width=16, layers=2, heads=2, mlp_width=24, vocabulary_size=50, positions=16)
PIECES = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "red", "cafe", "man", "shirt", ",", "-", "##ed", "##s"),
    *("left", "right", "circle", "square", "blue"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What import-dual makes of a Swin and a BERT of transformers, small ones."""
    monkeypatch.setattr(import_dual, "SwinConfig", lambda: SWIN)
    monkeypatch.setattr(import_dual, "BertConfig", lambda: BERT)
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(PIECES) + "\n")
    sources = ["--swin", str(GOLDEN), "--bert", str(GOLDEN), "--vocabulary", str(vocabulary)]
    assert main(["import", "dual", *sources, "--out", str(tmp_path / "dual")]) == 0
    return tmp_path / "dual"


@pytest.fixture
def dual_run(micro_run: RunConfig) -> RunConfig:
    """CGFormer on Swin and BERT, small."""
    system = SystemConfig(kind="cgformer", encoder="swin_bert", swin=SWIN, bert=BERT, pwam_heads=2)
    encoder = replace(micro_run.model.encoder, image_size=64, text_tokens=10)
    decoder = replace(micro_run.model.decoder, cgformer=CgformerConfig(pyramid_widths=(64, 32, 16, 16), token_width=32))
    model = replace(micro_run.model, system=system, encoder=encoder, decoder=decoder)
    return replace(micro_run, model=model)


def job_of(config: RunConfig, execution: ExecutionConfig, folder: Path | None) -> Job:
    provenance = {"git_commit": "test", "git_dirty": False, "versions_json": "{}"}
    changed = replace(execution, dual_weights=None if folder is None else str(folder))
    return resolve_job(config, changed, provenance=provenance)


@torch.no_grad()
def test_swin_sees_our_pixels_as_it_saw_its_own(folder: Path, dual_run: RunConfig, execution: ExecutionConfig) -> None:
    model = build_model(dual_run.model)
    load_initial_weights(model, job_of(dual_run, execution, folder))
    theirs = Swin(SWIN)
    load_swin(theirs, GOLDEN)
    share_BCHW = torch.rand(2, 3, 64, 64)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal_BCHW = (share_BCHW - mean[:, None, None]) / deviation[:, None, None]
    ours = model.encoder.swin.embed(2 * share_BCHW - 1)  # type: ignore[union-attr, operator]
    torch.testing.assert_close(ours, theirs.embed(normal_BCHW), atol=1e-5, rtol=1e-5)
    bert = load_file(GOLDEN)["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(model.encoder.bert.words.weight, bert)  # type: ignore[union-attr]


def test_runs_are_named_by_the_weights_and_stay_in_one_table(
    folder: Path, dual_run: RunConfig, micro_run: RunConfig, execution: ExecutionConfig
) -> None:
    beit3 = ("train.encoder_weights_sha256", "b" * 64)
    dual, single = replace_at(dual_run, *beit3), replace_at(micro_run, *beit3)
    job = job_of(dual, execution, folder)
    assert job.config == replace_at(dual, "train.encoder_weights_sha256", dual_sha256(folder))
    random = named_by_its_weights(dual, execution)
    assert random.train.encoder_weights_sha256 is None, "BEiT-3's file is none for Swin and BERT"
    assert job_of(single, execution, folder).config == single
    beside = job_of(replace_at(single, "model.encoder", dual.model.encoder), execution, folder)
    assert beside.recipe == job.recipe


def test_a_run_reads_word_pieces_and_so_does_its_predictor(
    folder: Path, dual_run: RunConfig, execution: ExecutionConfig
) -> None:
    job = job_of(dual_run, execution, folder)
    run_in_process(job)
    assert job.done
    predictor = Predictor.from_run(job.model_folder)
    assert isinstance(predictor.tokenizer, WordPieceTokenizer)
    assert (job.model_folder / "tokenizer.model").read_bytes() == (folder / "vocab.txt").read_bytes()
    arguments = ["evaluate", str(job.model_folder), f"{dual_run.data.train_sets[0]}/val"]
    assert main([*arguments, "--prepared", execution.prepared_root, "--device", "cpu"]) == 0


def test_other_weights_under_the_same_run_are_refused(
    folder: Path, dual_run: RunConfig, execution: ExecutionConfig
) -> None:
    job = job_of(dual_run, execution, folder)
    weights = load_file(folder / "weights.safetensors")
    weights["bert.norm.bias"] += 1
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(InputError, match="--dual-weights .* is not what has the SHA-256"):
        load_initial_weights(build_model(dual_run.model), job)


@pytest.mark.parametrize("change", ["lacks", "unexpected", "shape", "nan"])
def test_weights_that_do_not_fit_are_refused(
    change: str, folder: Path, dual_run: RunConfig, execution: ExecutionConfig
) -> None:
    weights = load_file(folder / "weights.safetensors")
    if change == "lacks":
        del weights["bert.norm.bias"]
    elif change == "unexpected":
        weights["bert.pooler"] = torch.zeros(1)
    else:
        weights["bert.norm.bias"] = torch.zeros(3) if change == "shape" else torch.full((16,), torch.nan)
    save_file(weights, folder / "weights.safetensors")
    job = job_of(dual_run, execution, folder)
    with pytest.raises(InputError, match=r"bert\.(norm\.bias|pooler)"):
        load_initial_weights(build_model(dual_run.model), job)


def test_word_pieces_are_berts(folder: Path) -> None:
    tokenizer = open_tokenizer(folder / "vocab.txt", 10)
    assert tokenizer.pieces("The RED-shirted Café, man!") == (
        ["the", "red", "-", "shirt", "##ed", "cafe", ",", "man", "[UNK]"]
    )
    ids, padding = tokenizer.encode("a man")
    assert ids.tolist() == [2, 6, 9, 3, 0, 0, 0, 0, 0, 0]
    assert padding.tolist() == [False] * 4 + [True] * 6
    assert tokenizer.encode("the " * 40)[0].tolist() == [2, *[5] * 8, 3]
    assert tokenizer.encode("")[0].tolist()[:3] == [2, 3, 0]
    assert tokenizer.encode("\ud800 man")[0].tolist()[-1] == 0
    assert tokenizer.vocabulary_size == len(PIECES)


def test_a_piece_may_be_what_unicode_takes_for_the_end_of_a_line(tmp_path: Path) -> None:
    pieces = [*PIECES[:5], "\u2028", "\x85", "man"]
    (tmp_path / "vocab.txt").write_bytes("\n".join(pieces).encode())
    assert open_tokenizer(tmp_path / "vocab.txt", 10).encode("man")[0].tolist()[:3] == [2, 7, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[PAD]\n[UNK]\n[CLS]\n", r"lacks \[SEP\]"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nred\nred\n", "has a piece twice"),
        (b"[PAD]\n\xff\n", "is not a vocabulary"),
        (b"", "is not a sentencepiece model"),
    ],
)
def test_a_broken_vocabulary_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_tokenizer(tmp_path / "vocab.txt", 10)


def test_bad_folders_end_the_command_in_one_line(
    folder: Path, tmp_path: Path, toy_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ["import", "dual", "--swin", str(GOLDEN), "--bert", str(GOLDEN), "--vocabulary", str(folder / "vocab.txt")]
    assert main([*again, "--out", str(folder)]) == 2
    sentencepiece = next(toy_root.glob("*/tokenizer.model"))
    assert main([*again[:-1], str(sentencepiece), "--out", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()
    train = ["train", "--prepared", str(toy_root), "--runs", str(tmp_path / "runs"), "--data", TOY]
    train += ["--model.system.kind", "cgformer", "--model.system.encoder", "swin_bert"]
    assert main([*train, "--dual-weights", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 3
    assert "exists already" in lines[0]
    assert "is not a vocabulary" in lines[1]
    assert "has no weights.safetensors" in lines[2]
