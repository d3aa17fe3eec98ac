"""Modules of other papers, built into the framework for its comparisons (tables IV, V, VI and X)."""
