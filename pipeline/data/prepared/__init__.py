"""The prepared format: parquet splits, images, tokenizer and manifest."""
