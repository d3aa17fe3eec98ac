"""Checks of a set before hours are spent on it, and the report of what was found."""
