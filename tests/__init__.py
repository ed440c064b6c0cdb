"""Tests: golden vectors, one file for each module, laws, and the whole gateway against real applications.

HYPOTHESIS=full in the environment draws as many examples as a night has time for, not only as `make test` has.
HYPOTHESIS=mutants draws the same examples each time, and looks for no simpler ones.
"""

import os

from hypothesis import HealthCheck, Phase, settings

# A busy machine is no failure: what hypothesis draws is judged by what comes out, never by how long it took.
settings.register_profile("gateway", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "mutants",
    settings.get_profile("gateway"),
    phases=(Phase.explicit, Phase.generate),
    derandomize=True,
    database=None,
)
settings.load_profile("mutants" if os.environ.get("HYPOTHESIS") == "mutants" else "gateway")


def examples(usual: int, full: int) -> int:
    """How many to draw."""
    return full if os.environ.get("HYPOTHESIS") == "full" else usual
