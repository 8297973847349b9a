"""How many examples the fuzz tests try: few and always the same ones, or with `full` many new ones.

`make fuzz` runs them with `--hypothesis-profile full`.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

COMMON = {
    "deadline": None,  # mutations.bounded() ends what hangs; nothing else is timed
    "suppress_health_check": list(HealthCheck),
    "phases": (Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes
}
settings.register_profile(
    "short",
    max_examples=25,
    derandomize=True,
    database=None,
    **COMMON,
)
settings.register_profile(
    "full", max_examples=int(os.environ.get("TS_FUZZ_EXAMPLES", "5000")), print_blob=True, **COMMON
)
settings.load_profile("short")
