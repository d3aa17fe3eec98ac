"""Who works on a run, how it is stopped, and what is removed after it."""
