"""Which runs make up the paper's tables, and how they fan out over a Ray cluster."""
