"""Batches on the device one ahead of their use, so that a GPU copies the next one while it computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from pipeline.data.dataset.loader import Batch


def prefetch(batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Batch, Batch]]:
    """Yield each batch on the host and on the device, in order; on the CPU both are the same batch.

    Args:
        batches: in page-locked memory (`pin_memory`) where the copy is to run next to the computation.
        device: of the model.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch, batch
        return
    copies: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ahead: tuple[Batch, Batch] | None = None
    for host in batches:
        with torch.cuda.stream(copies):
            moved = host.to(device, non_blocking=True)
        if ahead is not None:
            yield ahead
        # After the yield: the model has queued its work on the batch before, and only then waits for this copy.
        torch.cuda.current_stream(device).wait_stream(copies)
        for tensor in (moved.image_BCHW, moved.token_ids_BT, moved.padding_BT, moved.mask_BHW):
            tensor.record_stream(torch.cuda.current_stream(device))  # else its memory may be used again too early
        ahead = host, moved
    if ahead is not None:
        yield ahead
