"""What a model and a run cost: parameters, GMACs, memory, hours."""
