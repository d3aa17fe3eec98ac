"""Put the page together: templates, settings, and the packed runtime, weights and tokenizer."""

from __future__ import annotations

import base64
import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.demo.runtime import WebRuntime
from sharedris.checkpoint import SavedModel
from sharedris.errors import InputError
from sharedris.export.files import write_onnx
from sharedris.export.graph import PixelsToMask, export_graph
from sharedris.sentencepiece_tokenizer import SentencePieceTokenizer
from sharedris.tokenizers import open_tokenizer

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("tokenizer.js", "image.js", "demo.js")
MOST_MODEL_MIB = 200
"""Browsers hold a page's text in strings of at most 512 MiB, which base64 and the rest of the page share."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A picture that the page offers: PNG, and a sentence about it."""

    png: bytes
    sentence: str

    @property
    def uri(self) -> str:
        """The picture as an address that holds it."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


def write_page(saved: SavedModel, runtime: WebRuntime, summary: str, examples: list[Example]) -> bytes:
    """Return the page of a model.

    Args:
        saved: the model, which reads sentences by a sentencepiece tokenizer.
        runtime: onnxruntime-web.
        summary: a line below the title.
        examples: offered as buttons.

    Raises:
        InputError: when the model reads BERT's word pieces, or is too large for a page.
        ExportError: when it cannot be exported.
    """
    encoder = saved.config.encoder
    if not isinstance(open_tokenizer(saved.tokenizer_path, encoder.text_tokens), SentencePieceTokenizer):
        raise InputError(
            f"{saved.run_id} reads BERT's word pieces, the page only sentencepiece", "Use sharedris predict"
        )
    content = _onnx(saved)
    if len(content) > MOST_MODEL_MIB * 2**20:
        raise InputError(
            f"{saved.run_id} has {len(content) / 2**20:.0f} MiB, more than a page holds ({MOST_MODEL_MIB})",
            "Use sharedris export --format onnx",
        )
    packed = {
        "runtime": runtime.script,
        "wasm": runtime.wasm,
        "model": content,
        "tokenizer": saved.tokenizer_path.read_bytes(),
    }
    settings = {
        "run_id": saved.run_id,
        "threshold": saved.threshold,
        "image_size": encoder.image_size,
        "text_tokens": encoder.text_tokens,
        "examples": [{"uri": example.uri, "sentence": example.sentence} for example in examples],
    }
    page = _environment().get_template("demo.html.jinja")
    text = page.render(
        title=f"Shared-RIS: {saved.run_id}",
        summary=summary,
        css=(TEMPLATES / "demo.css").read_text(),
        scripts="\n".join((TEMPLATES / name).read_text() for name in SCRIPTS),
        settings=settings,
        packed={name: _packed(data) for name, data in packed.items()},
        examples=examples,
        placeholder=f"for example: {examples[0].sentence}" if examples else "the dog on the left",
        words=encoder.text_tokens - 2,
        footer=f"Run {saved.run_id}, variant {saved.config.variant}, threshold {saved.threshold:g}. "
        "The weights lie in this file; onnxruntime-web runs them.",
    )
    return text.encode()


def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _onnx(saved: SavedModel) -> bytes:
    """Return the ONNX file with attention maps as outputs."""
    model = PixelsToMask(saved.model, attention=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        program = export_graph(saved.model, attention=True)
        write_onnx(program, path, outputs=model.outputs, notes={"run_id": saved.run_id})
        if path.with_name("model.onnx.data").exists():
            raise InputError(f"{saved.run_id} has more than 2 GB of weights", "Use sharedris export --format onnx")
        return path.read_bytes()
