"""Builders of settings: from values, and from variables of the environment."""

from typing import Final

import pytest

from schemas.environment import SettingsError
from schemas.settings import Settings
from schemas.settings_loader import load_settings

REQUIRED: Final = {"KAFKA_BOOTSTRAP": "kafka:9092", "REDIS_URL": "redis://:hunter2@redis:6379/0"}


def settings_of(**changes: object) -> Settings:
    """Return settings of services that are never called, with these fields changed."""
    return Settings.model_validate({"kafka_bootstrap": "kafka:9092", "redis_url": "redis://redis"} | changes)


def loaded(**variables: str) -> Settings:
    """Read the settings from these variables alone, without their prefix."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(f"SLEEP_{name}", value)
        return load_settings()


def refusal(**variables: str) -> str:
    """Return why these variables are refused."""
    with pytest.raises(SettingsError) as refused:
        loaded(**variables)
    return str(refused.value)
