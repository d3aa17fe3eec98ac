"""The samples a run reads: one prepared split, or the training splits of several sets without leakage."""
