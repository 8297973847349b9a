"""Send a notification when a flow run has ended: by a block of Prefect's, an Apprise URL, or both.

Neither Prefect nor Apprise is imported before it is used: `flows.train` and the process worker's
engine import this module at their start.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.server.database import DATABASE_FILE
from flows.server.settings import API_URL, HOME, Settings, read_settings
from preprocess.faults import Fault, FaultsError, did_you_mean
from training.system.console import say

if TYPE_CHECKING:
    from flows.adapters.prefect_adapter import State
    from flows.notifications.message import Notice
    from training.plan.model import Plan

NOTIFY_URL = "TS_NOTIFY_URL"
LONGEST_S = 15.0
"""How long all channels together may take."""
NO_BLOCK = (
    f"create it in the UI (Blocks) of the server that PREFECT_API_URL names, or set {NOTIFY_URL}"
)
DATABASE_SETTINGS = frozenset(
    {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
        "PREFECT_SERVER_DATABASE_HOST",
        "PREFECT_SERVER_DATABASE_NAME",
    }
)
"""Settings that name another database."""

Send = Callable[["Notice"], None]
"""Sends a message; raises an exception when it can't."""

_hidden: dict[str, str] = {}
"""The Apprise URL, a secret, once it is out of the environment."""


def hide_url(environ: MutableMapping[str, str] = os.environ) -> None:
    """Move the Apprise URL out of the environment, which workers and trainers inherit."""
    if url := environ.pop(NOTIFY_URL, ""):
        _hidden[NOTIFY_URL] = url


def notify_url() -> str:
    """Return the Apprise URL, whether or not it has left the environment; empty if none is set."""
    return _hidden.get(NOTIFY_URL) or os.environ.get(NOTIFY_URL, "")


def channels_of(block: str) -> dict[str, Send]:
    """Return by name what sends to the Apprise URL and to the notification block, where named.

    Raises FaultsError when one of them can't be used.
    """
    channels: dict[str, Send] = {}
    if url := notify_url():
        channels[NOTIFY_URL] = _url_channel(url)
    if block:
        channels[f"--notify {block}"] = _block_channel(block)
    return channels


def check_channels(block: str) -> None:
    """Raise FaultsError for a channel that can't be used, where no server is needed to know that.

    A server of our own has no notification blocks, unless its database is the user's.
    """
    if block and not _may_have_blocks(read_settings()):
        raise FaultsError([Fault("--notify: no such notification block", block, NO_BLOCK)])
    if url := os.environ.get(NOTIFY_URL, ""):
        _url_channel(url)


def _may_have_blocks(settings: Settings) -> bool:
    names_database = not DATABASE_SETTINGS.isdisjoint(settings)
    home = settings.get(HOME, "")
    is_in_home = bool(home) and Path(home, DATABASE_FILE).is_file()
    return bool(settings.get(API_URL)) or names_database or is_in_home


@dataclass
class Ending:
    """How a flow run has ended so far as known, and the channels to notify."""

    exp_name: str
    began: float = field(default_factory=time.monotonic)
    channels: dict[str, Send] = field(default_factory=dict)
    plans: Sequence[Plan] = ()
    """Empty until the run has something to start."""
    state: State[Any] | None = None
    """None if an exception ends the run."""

    def send(self) -> None:
        """Send the notification to all channels; warn in one line about each that fails.

        Nothing is sent about a completed run that had nothing to do.
        """
        was_idle = bool(self.plans) and not any(plan.of("run") for plan in self.plans)
        if not self.channels or (was_idle and self.state and self.state.is_completed()):
            return
        from flows.notifications.message import notice

        seconds = time.monotonic() - self.began
        message = notice(self.exp_name, self.state, self.plans, seconds, _address())
        for name, problem in deliver(self.channels, message).items():
            _warn(f"{name}: the notification about this run was not sent ({problem})")


@contextmanager
def notify_when_finished(exp_name: str) -> Iterator[Ending]:
    """Yield an ending to fill in, and send it when the block is left, by an exception too."""
    ending = Ending(exp_name)
    try:
        yield ending
    finally:
        ending.send()


def deliver(channels: dict[str, Send], message: Notice) -> dict[str, str]:
    """Send a message to all channels at once; return, by name, why some did not get it in time.

    A stop request meanwhile only ends the waiting: the run is over already.
    """
    from flows.adapters.prefect_adapter import TerminationSignal

    problems = dict.fromkeys(channels, "no answer in time")

    def send(name: str) -> None:
        try:
            channels[name](message)
        except Exception as error:  # noqa: BLE001  # webhooks fail in any way
            problems[name] = _problem(error)
        else:
            del problems[name]

    threads = [threading.Thread(target=send, args=(name,), daemon=True) for name in channels]
    deadline = time.monotonic() + LONGEST_S
    with contextlib.suppress(KeyboardInterrupt, TerminationSignal):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
    return dict(problems)


def _problem(error: Exception) -> str:
    """Return the kind of an error and its HTTP status; its text may contain the URL, a secret."""
    status = getattr(getattr(error, "response", None), "status_code", "")
    return f"{type(error).__name__} {status}".strip()


class NotSentError(Exception):
    """Apprise could not send a message; it gives no reason."""


def _url_channel(url: str) -> Send:
    import apprise

    _silence_apprise()
    client = apprise.Apprise()
    if not client.add(url):
        remedy = "see Apprise's documentation for the address of your service"
        raise FaultsError(
            [Fault(f"{NOTIFY_URL} is not an address that Apprise knows", remedy=remedy)]
        )

    def send(message: Notice) -> None:
        kind = apprise.NotifyType(message.kind)
        if not client.notify(body=message.body, title=message.subject, notify_type=kind):
            raise NotSentError

    return send


def _block_channel(name: str) -> Send:
    from flows.adapters.prefect_adapter import (
        BlockError,
        load_notification_block,
        notification_block_names,
    )

    valid = notification_block_names()
    if name not in valid:
        remedy = did_you_mean(name, valid) if valid else NO_BLOCK
        raise FaultsError([Fault("--notify: no such notification block", name, remedy)])
    _silence_apprise()
    try:
        block = load_notification_block(name)
    except BlockError as error:
        what = f"--notify: the notification block can't be used ({error})"
        raise FaultsError([Fault(what, name, "correct it in Prefect's UI, Blocks")]) from None
    return lambda message: block.notify(message.body, subject=message.subject)


def _silence_apprise() -> None:
    """Keep Apprise from logging failures, whose text may contain the URL; we warn ourselves."""
    logger = logging.getLogger("apprise")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def _address() -> str:
    """Return the address of the flow run in Prefect's UI; empty where the server has no UI."""
    from flows.adapters.prefect_adapter import current_flow_run, flow_run_url

    run = current_flow_run()
    return flow_run_url(run.id) if run else ""


def _warn(line: str) -> None:
    """Print a warning and write it to the run's log."""
    from prefect.logging import get_run_logger

    say(f"warning: {line}", sys.stderr)
    get_run_logger().warning(line)
