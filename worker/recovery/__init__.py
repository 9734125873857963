"""Beside the pipeline: Redis rebuilt from the topics, verified against them, dead letters put back."""
