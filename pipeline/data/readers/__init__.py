"""What annotation files say: REFER pickles, own JSON lines and CSV, read as plain data."""
