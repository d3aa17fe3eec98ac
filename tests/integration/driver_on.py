"""`python -m tests.integration.driver_on HOST WORDS...`: the command as on a host of its own, with shorter times."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import torch

from pipeline.cli.main import main
from pipeline.lifecycle import heartbeat, lease

STALE_SECONDS = 12.0
"""In place of two minutes; a beat is a second in place of fifteen."""

if __name__ == "__main__":
    torch.set_num_threads(1)
    heartbeat.socket = lease.socket = SimpleNamespace(gethostname=lambda: sys.argv[1])  # type: ignore[attr-defined]
    lease.BEAT_SECONDS, lease.STALE_SECONDS = 1.0, STALE_SECONDS
    sys.exit(main(sys.argv[2:]))
