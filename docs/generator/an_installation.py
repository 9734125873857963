"""The settings of an installation with all defaults. Nothing connects: its names are those of examples."""

from typing import Any, Final

from schemas.settings import Settings

_NEEDED: Final[dict[str, Any]] = {
    "kafka_bootstrap": "kafka.example:9092",
    "redis_url": "redis://redis.example:6379/0",
    "jwt_jwks": "https://issuer.example/jwks.json",
    "jwt_issuer": "https://issuer.example",
    "jwt_audience": "sleep",
}
_DEFAULTS: Final = {
    name: field.get_default(call_default_factory=True)
    for name, field in Settings.model_fields.items()
    if not field.is_required()
}
# All are given, so that nothing is read from the environment: what is generated depends on the code alone.
AN_INSTALLATION: Final = Settings.model_validate(_DEFAULTS | _NEEDED)
