"""A stop stays a stop, whatever the library that it interrupts makes of it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pydantic
import pytest

from flows.runner.stop_signals import first_stop_interrupts


class Interrupted(pydantic.BaseModel):
    """A signal comes while it is serialised."""

    @pydantic.model_serializer
    def _serialise(self) -> dict[str, str]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {}


def test_a_stop_that_pydantic_turns_into_its_own_error_is_a_stop():
    with (
        pytest.raises(KeyboardInterrupt),
        first_stop_interrupts() as stops,
        stops.keep_interrupts(),
    ):
        Interrupted().model_dump()


def test_a_stop_that_a_library_swallows_is_found_and_other_errors_stay():
    with first_stop_interrupts() as stops:
        stops.check()
        with pytest.raises(ValueError, match="own"), stops.keep_interrupts():
            raise ValueError("own")
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            stops.check()
