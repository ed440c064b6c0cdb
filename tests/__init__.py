"""Tests: golden vectors, one file for each module, laws, and the whole gateway against real applications.

HYPOTHESIS=full in the environment draws as many examples as a night has time for, not only as `make test` has.
HYPOTHESIS=mutants draws the same few examples each time, and looks for no simpler ones.
"""

import os

from hypothesis import HealthCheck, Phase, settings

MUTANTS_EXAMPLES = 25

# A busy machine is no failure: what hypothesis draws is judged by what comes out, never by how long it took.
settings.register_profile("gateway", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "mutants",
    settings.get_profile("gateway"),
    max_examples=MUTANTS_EXAMPLES,
    phases=(Phase.explicit, Phase.generate),
    derandomize=True,
    database=None,
)
settings.load_profile("mutants" if os.environ.get("HYPOTHESIS") == "mutants" else "gateway")


def examples(usual: int, full: int) -> int:
    """How many to draw."""
    chosen = os.environ.get("HYPOTHESIS")
    return full if chosen == "full" else min(usual, MUTANTS_EXAMPLES) if chosen == "mutants" else usual
