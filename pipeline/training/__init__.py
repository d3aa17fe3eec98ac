"""How a model is trained: steps, state, checkpoints, optimizer, schedule."""
