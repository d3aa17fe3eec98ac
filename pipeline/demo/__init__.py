"""A trained model as one HTML page that works from disk, offline: runtime, weights and tokenizer lie inside."""
