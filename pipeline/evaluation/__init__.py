"""How masks are predicted and scored: every sample once, under named protocols."""
