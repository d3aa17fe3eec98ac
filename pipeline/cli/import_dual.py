"""`sharedris import dual`: join a Swin and a BERT into the initial weights of the dual encoders of table VI."""

from __future__ import annotations

import shutil

from pipeline.cli.import_dual_options import Options
from pipeline.cli.machine_output import add_result
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


def run(options: Options) -> int:
    """Check both files against the models of the paper's scale and write the folder in one step.

    Raises:
        InputError: for files that do not fit, or a folder that exists.
    """
    if options.out.exists():
        raise InputError(f"{options.out} exists already", "Give a new folder, or remove it first")
    require_writable(options.out.parent, "--out")
    swin, bert = Swin(SwinConfig()), Bert(BertConfig())
    load_swin(swin, options.swin)
    load_bert(bert, options.bert)
    for_our_pixels(swin)
    tokenizer = WordPieceTokenizer(options.vocabulary, BertConfig().positions)
    require_fit(tokenizer, BertConfig().vocabulary_size)
    weights = to_joined(swin, bert)
    partial = options.out.with_name(f".{options.out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        write_safetensors(weights, partial / DUAL_WEIGHTS)
        shutil.copyfile(options.vocabulary, partial / DUAL_VOCABULARY)
        partial.replace(options.out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    add_result(folder=options.out, parameters=len(weights))
    million = sum(tensor.numel() for tensor in weights.values()) / 1e6
    print(f"wrote {options.out}: {len(weights)} parameters, {million:.1f} M, {tokenizer.vocabulary_size} word pieces")
    return 0
