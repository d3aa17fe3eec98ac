"""Random numbers in training: from torch's generator, or a function of the sample, so that no layout changes them.

torch's generator gives each worker other numbers, in the order in which they are drawn: another number of workers or
another micro-batch is another training. With sample keys a number depends only on its sample's key (a hash of seed,
step and sample), the place in the model and the position in the tensor: a counter-based generator (as Philox, Salmon et
al., SC 2011) in integer arithmetic, the same on every device, without a question to it, and part of a compiled graph.

Shapes: B samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

PARTS = 4
"""Independent draws that one module may make in a forward pass."""

_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: multiples of it are spread evenly
_ODD = 0xD6E8FEB86659FD93  # of Mulvey's 64-bit mixer, whose every input bit changes half of the output bits
_BITS = 24  # of a float32 below 1


class SampleKeys:
    """The keys of the samples that are in the model now, shared by all of its modules that draw.

    Attributes:
        keys_B: int64, one per sample; None draws from torch's generator.
    """

    keys_B: Tensor | None = None


class RandomModule(nn.Module):
    """A module that draws random numbers in training.

    Attributes:
        place: number of the module among those of the model that draw.
    """

    sample_keys: SampleKeys | None = None
    place = 0

    def uniform(self, size: Sequence[int], device: torch.device, *, part: int = 0) -> Tensor:
        """Return numbers in [0, 1), float32, of a size whose first dimension is B.

        Args:
            size: of the numbers.
            device: of the numbers.
            part: 0 .. PARTS-1, a number of its own for each call in a forward pass.
        """
        keys_B = None if self.sample_keys is None or not self.training else self.sample_keys.keys_B
        if keys_B is None:
            return torch.rand(size, device=device)
        return keyed_uniform(keys_B, size[1:], place=PARTS * self.place + part)

    def sample_keep(self, tokens_BND: Tensor, drop_path: float, *, part: int = 0) -> Tensor:
        """Return each sample's stochastic-depth factor, (B, 1, 1): 0 with probability `drop_path`, else 1 / (1 - p)."""
        keep = 1.0 - drop_path
        draws_B11 = self.uniform((tokens_BND.shape[0], 1, 1), tokens_BND.device, part=part)
        return (draws_B11 < keep).to(tokens_BND.dtype) / keep


class Dropout(RandomModule):
    """`nn.Dropout` that can draw by sample; the first dimension of its input is B."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        """Return the input with some values at 0 and the others enlarged."""
        if not self.training or self.p == 0 or self.sample_keys is None:
            return functional.dropout(input, self.p, self.training)
        kept = self.uniform(input.shape, input.device) >= self.p
        return input * kept / (1.0 - self.p)


def share_keys(model: nn.Module) -> SampleKeys:
    """Number the places of a model that draw, and return the keys that all of them read from now on."""
    keys = SampleKeys()
    drawing = [module for module in model.modules() if isinstance(module, RandomModule)]
    for place, module in enumerate(drawing):
        module.sample_keys, module.place = keys, place
    return keys


def keyed_uniform(keys_B: Tensor, size: Sequence[int], *, place: int) -> Tensor:
    """Return numbers in [0, 1), float32, (B, *size), that depend only on key, place and position in a sample."""
    own_B = _mixed(keys_B + _wrapped((place + 1) * _GOLDEN))
    position_N = torch.arange(1, math.prod(size) + 1, device=keys_B.device)
    bits_BN = _mixed(own_B[:, None] + position_N * _wrapped(_GOLDEN))
    return torch.unflatten((bits_BN >> (64 - _BITS) & (2**_BITS - 1)).float() * 2.0**-_BITS, 1, size)


def _mixed(bits: Tensor) -> Tensor:
    """Return 64 bits of which each depends on all 64 of the input; products wrap around."""
    for _ in range(2):
        bits = (bits ^ _upper_half(bits)) * _wrapped(_ODD)
    return bits ^ _upper_half(bits)


def _upper_half(bits: Tensor) -> Tensor:
    return bits >> 32 & 0xFFFFFFFF  # torch's shift repeats the sign


def _wrapped(value: int) -> int:
    """Return 64 bits as the int64 of the same bits."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value
