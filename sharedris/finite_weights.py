"""Weights that are not finite are refused wherever they are read or written: they score 0.00 and predict nothing."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sharedris.errors import InputError

_SHOWN = 3


def require_finite(weights: Mapping[str, Tensor], where: str, remedy: str) -> None:
    """Check that every number of the weights is finite.

    Args:
        weights: by name, on any device; integers are finite.
        where: the file that they come from, or the model, for the message.
        remedy: what to do about it.

    Raises:
        InputError: when a weight is NaN or infinite; it names the first few.
    """
    bad = [name for name, tensor in weights.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise InputError(f"{where} has NaN or infinite weights in {', '.join(bad[:_SHOWN])}{more}", remedy)
