"""MLflow's system metrics of this machine for each run while it is running: CPU, memory, disk, network, GPU.

Switched on as MLflow's users know it: MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=true. They are measured by the driver, so
they are those of its machine: runs at the same time share it, and other nodes of a cluster are not seen.
"""

from __future__ import annotations

import os

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor


class SystemMetrics:
    """One thread of MLflow per running run; none where the option is off.

    Args:
        tracking_uri: of the store that gets them.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._tracking_uri = tracking_uri
        self._monitors: dict[str, SystemMetricsMonitor] = {}

    def start(self, run_id: str) -> None:
        """Measure while a run is running; a resumed run continues its steps."""
        if is_on() and run_id not in self._monitors:
            monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=self._tracking_uri)
            monitor.start()
            self._monitors[run_id] = monitor

    def finish(self, run_id: str) -> None:
        """Stop measuring a run."""
        monitor = self._monitors.pop(run_id, None)
        if monitor is not None:
            monitor.finish()


def is_on() -> bool:
    """Return whether MLflow's own switch is set."""
    return os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "").lower() in ("true", "1")
