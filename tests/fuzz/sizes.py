"""How many examples a test tries, by what one of them costs."""

from __future__ import annotations

from hypothesis import settings


def one_in(share: int) -> settings:
    """Return settings for a test whose examples are slow: one in so many of the others'."""
    return settings(max_examples=max(4, settings().max_examples // share))
