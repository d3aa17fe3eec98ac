"""Requests for checkpoints, the id of the runs and failed GPUs reach other hosts through a store in memory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.cli.main import main
from pipeline.lifecycle.locks import driver_lock
from pipeline.lifecycle.save_request import request_checkpoint, signal_saves, take_request
from pipeline.monitoring.device_fault_file import faulty_nodes, write_device_fault
from pipeline.monitoring.mlflow_owner import runs_root_id
from pipeline.object_store import pusher
from pipeline.object_store.follower import bring, followed
from pipeline.object_store.mirror import Mirror
from pipeline.object_store.pusher import Pusher, pushed
from pipeline.object_store.save_request import fetch_request, pass_on_requests
from tests.pipeline.object_store.conftest import URL, may_write, write
from tests.pipeline.object_store.test_mirror import RUN, keys_in

Host = Callable[[str], Mirror]
KEY = f"state/{RUN}/save-now"


def test_a_request_goes_through_the_store_and_is_taken_once(host: Host, store: Any) -> None:
    asking, training = host("asking"), host("training")
    folder = asking.root / "state" / RUN
    for _ in range(2):  # the second counts for the first
        request_checkpoint(folder)
    assert KEY in keys_in(store)
    assert not take_request(folder), "nothing is asked of the machine that asks"
    fetch_request(training, RUN)
    assert KEY not in keys_in(store)
    assert take_request(training.root / "state" / RUN)
    fetch_request(training, RUN)
    assert not take_request(training.root / "state" / RUN)


def test_a_signal_to_the_driver_is_passed_on(host: Host, store: Any) -> None:
    driver = host("driver")
    with signal_saves([write(driver, f"state/{RUN}/progress.json").parent]):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert KEY not in keys_in(store), "a handler asks no store"
    pass_on_requests(driver, [RUN])
    assert KEY in keys_in(store)
    assert not (driver.root / KEY).exists()
    with followed(driver.root, [RUN]):
        pass


def test_the_pusher_looks_for_requests_and_forgets_late_ones(
    host: Host, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pusher, "PUSH_SECONDS", 0.001)
    asking, training = host("asking"), host("training")
    with pushed(training, RUN, may_write):
        request_checkpoint(asking.root / "state" / RUN)
        for _ in range(2000):
            if take_request(training.root / "state" / RUN):
                break
            time.sleep(0.001)
        else:
            pytest.fail("the request did not come")
    late = Pusher(training, RUN, may_write)
    request_checkpoint(asking.root / "state" / RUN)
    late.start()
    late.finish()
    assert KEY not in keys_in(store)


def test_the_command_asks_a_run_that_another_host_trains(
    host: Host, store: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = host("training")
    with driver_lock(training.root / "state" / RUN):
        assert main(["runs", "--runs", URL, "save"]) == 0
        assert f"asked {RUN} for a checkpoint" in capsys.readouterr().out
        assert KEY in keys_in(store)


def test_all_hosts_of_a_prefix_have_one_id_in_mlflow(host: Host, store: Any) -> None:
    one, two = host("one"), host("two")
    first = runs_root_id(one.root)
    assert runs_root_id(two.root) == first == runs_root_id(one.root)
    store.put(".runs_id", b"damaged")
    again = runs_root_id(two.root)
    assert again == first, "this host still knows it"
    assert runs_root_id(host("three").root) == first


def test_a_failed_gpu_is_known_on_the_other_hosts_until_it_is_forgotten(host: Host, store: Any) -> None:
    worker, driver = host("worker"), host("driver")
    folder = worker.root / "state" / RUN
    write_device_fault(folder, node_id="n1", address="10.0.0.1", gpu="A100 0", error="Xid 79")
    worker.push(RUN, may_write)
    bring(driver, [RUN])
    assert faulty_nodes(driver.root / "state" / RUN) == ["n1"]
    for path in (driver.root / "state" / RUN).glob("device_fault-*"):
        path.unlink()
    driver.push(RUN, may_write)
    worker.pull(run_ids=[RUN], discard=True)
    assert faulty_nodes(folder) == []
