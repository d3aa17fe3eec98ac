"""Modules of other papers, rewritten to be compared inside our framework (tables IV, V, VI and X)."""
