"""What a user sees of a run while it runs: progress, log lines, MLflow."""
