"""Readers of annotation files: REFER pickles, JSON Lines and CSV, as plain data."""
