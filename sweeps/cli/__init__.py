"""Commands of the sweeps: each module has the options and the action of one."""
