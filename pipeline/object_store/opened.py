"""A command over runs in an object store: brings what it reads, and puts what it wrote outside of any run's lock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.object_store.address import origin_of
from pipeline.object_store.layout import SMALL

SCORES = (*SMALL, "samples", "thresholds")
PICTURES = (*SCORES, "attention")


@contextlib.contextmanager
def opened_runs(root: Path | None, kinds: tuple[str, ...] = SMALL) -> Iterator[None]:
    """Bring files of these kinds into a working folder, and put costs and marks when the block ends without an error.

    Args:
        root: of the runs; a plain folder is left alone.
        kinds: of files that the command reads.

    Raises:
        StoreError: where the store cannot be used.
    """
    if root is None or origin_of(root) is None:
        yield
        return
    # With the packages of the extra `train`, which the model alone does not need.
    from pipeline.object_store.cache import in_use
    from pipeline.object_store.mirror import mirror_of

    mirror = mirror_of(root)
    assert mirror is not None
    mirror.objects.require_usable()
    with in_use(mirror.root):
        mirror.pull(kinds, leave_out=runs_driven_here(mirror.root))
        yield
        mirror.push_others()


def bring_results(root: Path, run_ids: list[str]) -> None:
    """Bring the exported models and the rows of runs into a working folder; a plain folder is left alone."""
    if origin_of(root) is None:
        return
    from pipeline.object_store.mirror import mirror_of

    mirror = mirror_of(root)
    if mirror is not None:
        mirror.pull(("models", "samples", "thresholds"), run_ids=run_ids)


def runs_driven_here(root: Path) -> frozenset[str]:
    """Return the runs whose files another process of this machine writes: here they are newer than in the store."""
    from pipeline.object_store.token import TOKEN, is_of_a_living_process

    tokens = (root / "state").glob(f"*/{TOKEN}")
    return frozenset(path.parent.name for path in tokens if is_of_a_living_process(path))
