"""Several processes of one command, in memory."""
