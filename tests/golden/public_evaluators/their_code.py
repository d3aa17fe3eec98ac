"""Import a file of another paper's code on a CPU, with stand-ins for what it imports and does not use here."""

from __future__ import annotations

import importlib.util
import inspect
import io
import logging
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor


def load(root: Path, file: str, stand_ins: str = "", **content: Any) -> Any:
    """Return the module of a file.

    Args:
        stand_ins: dotted names, separated by blanks, of modules that answer anything.
        content: what modules hold that must be real, by their name with `__` for dots.
    """
    for name in stand_ins.split():
        sys.modules[name] = MagicMock(name=name)
    for name, values in content.items():
        dotted = name.replace("__", ".")
        for part in range(1, dotted.count(".") + 1):
            sys.modules.setdefault(".".join(dotted.split(".")[:part]), MagicMock())
        sys.modules[dotted] = types.ModuleType(dotted)
        sys.modules[dotted].__dict__.update(values)
    sys.path.insert(0, str(root))
    package, _, _ = file.removesuffix(".py").replace("/", ".").rpartition(".")
    name = file.removesuffix(".py").replace("/", ".") if package else f"{Path(file).stem}_of_theirs"
    spec = importlib.util.spec_from_file_location(name, root / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_gpu() -> None:
    """Let their calls of CUDA run on the CPU, in one process, and count integers as its `histc` does."""
    Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign, assignment]
    torch.cuda.synchronize = torch.cuda.empty_cache = lambda *_: None  # type: ignore[assignment]

    def histc(values: Tensor, bins: int, min: int, max: int) -> Tensor:
        """Return counts of integers 0 .. bins - 1 in their type, as `histc` does on a GPU; a CPU has no such kernel."""
        assert (min, max) == (0, bins - 1)
        return torch.bincount(values[values < bins], minlength=bins).to(values.dtype)

    torch.histc = histc  # type: ignore[assignment]


@contextmanager
def one_process() -> Iterator[None]:
    """Join a process group of one, for their `all_reduce`."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def locals_of(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[dict[str, Any], str]:
    """Return the local variables of a function that only prints, as it returns, and what it printed."""
    found: dict[str, Any] = {}
    code = inspect.unwrap(function).__code__

    def on_event(frame: types.FrameType, event: str, _: Any) -> None:
        if event == "return" and frame.f_code is code:
            found.update(frame.f_locals)

    printed = io.StringIO()
    sys.setprofile(on_event)
    try:
        with redirect_stdout(printed):
            function(*args, **kwargs)
    finally:
        sys.setprofile(None)
    return found, printed.getvalue()


class Lines(logging.Handler):
    """A logger's lines, as one text."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += f"{record.getMessage()}\n"
