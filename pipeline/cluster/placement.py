"""The placement group of a run: recorded by its workers, so that it can be freed when Ray's controller has died.

Ray frees it itself when a run ends. A controller that is killed leaves it behind until the whole Ray job ends
(ray#54305), and the next run of a sweep then waits for its CPUs or GPUs without end.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import ray
from ray.util import get_current_placement_group, remove_placement_group
from ray.util.placement_group import PlacementGroup

from pipeline.files import atomic_writer


def record_placement_group(state_folder: Path) -> None:
    """Write the id of the placement group that this worker runs in; a full disk costs no more than the clean-up."""
    group = get_current_placement_group()
    if group is not None:
        with contextlib.suppress(OSError), atomic_writer(state_folder / "placement_group") as stream:
            stream.write(group.id.hex().encode())


def forget_placement_group(state_folder: Path) -> None:
    """Remove the recorded id, once Ray has freed the placement group itself."""
    (state_folder / "placement_group").unlink(missing_ok=True)


def free_placement_group(state_folder: Path) -> bool:
    """Free the placement group that a dead controller left; return whether one was recorded."""
    try:
        identity = (state_folder / "placement_group").read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        return False
    forget_placement_group(state_folder)
    if not re.fullmatch(f"[0-9a-f]{{{2 * ray.PlacementGroupID.size()}}}", identity):
        return False  # damaged, as by a full disk: Ray would end this process (RAY_CHECK)
    with contextlib.suppress(Exception):  # freed already, or it belongs to a Ray that has ended
        remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(identity)))
    return True
