"""Runs that live in an object store: a working folder on this machine, and the store as the only truth."""
