"""The `sharedris` command: one module per sub-command."""
