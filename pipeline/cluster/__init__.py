"""The door to Ray: joins or starts a cluster, checks its storage, runs one job on it."""
