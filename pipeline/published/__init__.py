"""The numbers that the paper prints, for costs and reports."""
