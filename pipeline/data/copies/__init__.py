"""Copies of published sets: which set and split a file holds, and what was changed in it."""
