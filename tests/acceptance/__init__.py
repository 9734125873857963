"""The command line as processes: what a person or a supervisor starts, signals and reads."""
