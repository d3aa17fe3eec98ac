"""One run: how it is prepared, trained, measured and recorded."""
