"""The console under `/console`: static files that run in the reader's browser, and how they are served."""
