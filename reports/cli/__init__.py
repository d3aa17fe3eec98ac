"""Commands of the reports: each module has the options and the action of one."""
