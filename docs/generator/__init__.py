"""Writes the files that follow from the code: the JSON Schemas and pages of `docs/reference`."""
