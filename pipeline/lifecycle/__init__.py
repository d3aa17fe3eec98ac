"""Locks on a run, signals that stop it, and what is removed after it."""
