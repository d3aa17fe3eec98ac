"""Runs and sweeps under many faults, in an order that a seed decides (`make test-chaos`)."""
