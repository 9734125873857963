"""How long the properties search: HYPOTHESIS_PROFILE=thorough looks at fifty times as many examples."""

import os

from hypothesis import HealthCheck, settings

# No limit on one example's time: on a shared machine it would fail by chance.
settings.register_profile("quick", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=3_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
