"""What a user sees of a run while it goes on: progress, log lines, MLflow."""
