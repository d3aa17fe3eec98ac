"""The door to Ray: joins or starts a cluster, checks its storage, and runs one job on it."""
