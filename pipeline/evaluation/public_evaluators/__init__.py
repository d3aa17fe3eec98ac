"""What other papers' public code measures on given masks, reproduced to the last digit. Start at `registry.py`."""
