"""Workers that cannot reach each other are named with address and interface, within a limit."""

from __future__ import annotations

import threading
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist

from pipeline.cluster import first_contact
from pipeline.cluster.first_contact import FirstContactError, check_first_all_reduce
from pipeline.cluster.versions import version_mismatch

PLACES = ["10.0.0.1 (eth0)", "10.0.0.2 (eth1)"]
CPU = torch.device("cpu")


def check(all_reduce: object) -> None:
    with (
        patch.object(dist, "all_reduce", all_reduce),
        patch.object(dist, "get_rank", lambda: 1),
        patch.object(first_contact, "_set_pg_timeout"),
    ):
        check_first_all_reduce(PLACES, CPU, 900.0, limit_seconds=0.05)


def refuse(_: torch.Tensor) -> None:
    raise RuntimeError("Gloo connectFullMesh failed\nand a trace")


@pytest.mark.parametrize(
    ("all_reduce", "cause"),
    [
        (lambda _: threading.Event().wait(1), "no answer for 0.05 s"),
        (refuse, "Gloo connectFullMesh failed"),
        (lambda ones: ones.mul_(3), "sum 3 of 2 ones"),
    ],
    ids=["silence", "an error", "a wrong sum"],
)
def test_a_failed_first_all_reduce_names_both_ends(all_reduce: object, cause: str) -> None:
    with pytest.raises(FirstContactError) as failed:
        check(all_reduce)
    text = str(failed.value)
    assert text.startswith(f"the first all-reduce of rank 1 failed: {cause} (rank 0 at {PLACES[0]}, rank 1 at")
    assert PLACES[1] in text
    assert "GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME before `ray start`" in text
    assert "\n" not in text


def test_workers_that_connect_pass() -> None:
    check(lambda ones: ones.mul_(2))
    check_first_all_reduce(PLACES[:1], CPU, 900.0)  # one worker has no process group


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"torch": "2.13.0+cu130", "ray": "2.60.0", "numpy": "2.4.0", "python": "3.11.9"}, None),
        ({"torch": "2.14.1", "ray": "2.60.0", "numpy": "2.4.0", "python": "3.11.2"}, "torch 2.14.1 where the driver"),
        (
            {"torch": "2.13.0", "ray": "2.60.0", "python": "3.12.1"},
            "numpy None where the driver has 2.4.0; Python",
        ),
    ],
)
def test_other_versions_of_a_node(node: dict[str, str], expected: str | None) -> None:
    driver = {"torch": "2.13.0+cpu", "ray": "2.60.0", "numpy": "2.4.0", "python": "3.11.2"}
    found = version_mismatch(driver, node)
    assert found is None if expected is None else expected in str(found)
    assert version_mismatch({}, node) is None, "a job without provenance"
