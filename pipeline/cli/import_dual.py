"""`sharedris import-dual`: join a Swin and a BERT into the initial weights of the dual encoders of table VI."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from pipeline.files import require_writable
from pipeline.pretrained_ids import DUAL_VOCABULARY, DUAL_WEIGHTS
from sharedris.baselines.bert import Bert
from sharedris.baselines.bert_swin_weights import for_our_pixels, load_bert, load_swin, to_joined
from sharedris.baselines.config import BertConfig, SwinConfig
from sharedris.baselines.swin import Swin
from sharedris.baselines.wordpiece import WordPieceTokenizer
from sharedris.errors import InputError
from sharedris.safetensors_file import write_safetensors
from sharedris.tokenizers import require_fit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    example = "of transformers: {}, model.safetensors or a .pth of plain tensors"
    parser.add_argument("--swin", type=Path, required=True, help=example.format("swin-base-patch4-window12-384-in22k"))
    parser.add_argument("--bert", type=Path, required=True, help=example.format("bert-base-uncased"))
    parser.add_argument("--vocabulary", type=Path, required=True, help="vocab.txt of bert-base-uncased")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, for --dual-weights")


def run(args: argparse.Namespace) -> int:
    """Check both files against the models of the paper's scale and write the folder in one step.

    Raises:
        InputError: for files that do not fit, or a folder that exists.
    """
    if args.out.exists():
        raise InputError(f"{args.out} exists already", "Give a new folder, or remove it first")
    require_writable(args.out.parent, "--out")
    swin, bert = Swin(SwinConfig()), Bert(BertConfig())
    load_swin(swin, args.swin)
    load_bert(bert, args.bert)
    for_our_pixels(swin)
    tokenizer = WordPieceTokenizer(args.vocabulary, BertConfig().positions)
    require_fit(tokenizer, BertConfig().vocabulary_size)
    weights = to_joined(swin, bert)
    partial = args.out.with_name(f".{args.out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        write_safetensors(weights, partial / DUAL_WEIGHTS)
        shutil.copyfile(args.vocabulary, partial / DUAL_VOCABULARY)
        partial.replace(args.out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    million = sum(tensor.numel() for tensor in weights.values()) / 1e6
    print(f"wrote {args.out}: {len(weights)} parameters, {million:.1f} M, {tokenizer.vocabulary_size} word pieces")
    return 0
