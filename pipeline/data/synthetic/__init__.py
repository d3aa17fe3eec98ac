"""Synthetic referring sets: scenes, sentences, their check, and the writer in the REFER layout."""
