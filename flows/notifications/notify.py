"""Who is told how a flow run ended: a notification block of Prefect's, an Apprise URL, or both.

Light: neither Prefect nor Apprise is imported before it is used.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from preprocess.faults import Fault, FaultsError, did_you_mean
from training.system.console import say

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from flows.notifications.message import Notice
    from training.plan.model import Plan

NOTIFY_URL = "TS_NOTIFY_URL"
LONGEST_S = 15.0
MOST_BLOCKS = 200
NO_BLOCK = (
    f"make it in the UI (Blocks) of the server that PREFECT_API_URL names, or set {NOTIFY_URL}"
)

Send = Callable[["Notice"], None]
"""Raises an exception when it could not be sent."""

_hidden: dict[str, str] = {}
"""The URL once it is out of the environment; it is a secret."""


def hide_url(environ: MutableMapping[str, str] = os.environ) -> None:
    """Take the Apprise URL out of the environment that workers and trainers inherit; keep it."""
    if url := environ.pop(NOTIFY_URL, ""):
        _hidden[NOTIFY_URL] = url


def channels_of(block: str) -> dict[str, Send]:
    """By name, what tells whom the user has chosen: nobody, the block, the URL, or both.

    Raises FaultsError where one of them can't be used.
    """
    channels: dict[str, Send] = {}
    if url := _hidden.get(NOTIFY_URL) or os.environ.get(NOTIFY_URL, ""):
        channels[NOTIFY_URL] = _url_channel(url)
    if block:
        channels[f"--notify {block}"] = _block_channel(block)
    return channels


@dataclass
class Ending:
    """The end of one flow run, and who is to be told of it."""

    exp_name: str
    began: float = field(default_factory=time.monotonic)
    channels: dict[str, Send] = field(default_factory=dict)
    plan: Plan | None = None
    """None as long as nothing was started."""
    state: State[Any] | None = None
    """None where it ended by an exception."""

    def tell(self) -> None:
        """Tell everybody; who can't be told is named in one line.

        A run that found nothing to do is not worth a message.
        """
        was_idle = self.plan is not None and not self.plan.of("run")
        if not self.channels or (was_idle and self.state and self.state.is_completed()):
            return
        from flows.notifications.message import notice

        seconds = time.monotonic() - self.began
        told = notice(self.exp_name, self.state, self.plan, seconds, _address())
        problems = deliver(self.channels, told)
        for name, problem in problems.items():
            _warn(f"{name}: could not be told how the run ended ({problem})")


@contextmanager
def notify_when_finished(exp_name: str) -> Iterator[Ending]:
    """An ending that is told when the block is left, however that happens."""
    ending = Ending(exp_name)
    try:
        yield ending
    finally:
        ending.tell()


def deliver(channels: dict[str, Send], what: Notice) -> dict[str, str]:
    """Tell all at once; by name, why those who could not be told in time could not.

    A stop that is asked for meanwhile ends the waiting and nothing else: the run is over.
    """
    from prefect.exceptions import TerminationSignal

    problems = dict.fromkeys(channels, "no answer in time")

    def send(name: str) -> None:
        try:
            channels[name](what)
        except Exception as error:  # noqa: BLE001  # whatever somebody's webhook does
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
    """Never the error's own text: it may name the URL."""
    status = getattr(getattr(error, "response", None), "status_code", "")
    return f"{type(error).__name__} {status}".strip()


class NotSentError(Exception):
    """Apprise says no more than that it could not send."""


def _url_channel(url: str) -> Send:
    import apprise

    _silence_apprise()
    client = apprise.Apprise()
    if not client.add(url):
        remedy = "see Apprise's documentation for the address of your service"
        raise FaultsError([Fault(f"{NOTIFY_URL} is no address that Apprise knows", remedy=remedy)])

    def send(what: Notice) -> None:
        kind = apprise.NotifyType(what.kind)
        if not client.notify(body=what.body, title=what.subject, notify_type=kind):
            raise NotSentError

    return send


def _block_channel(name: str) -> Send:
    import prefect.blocks.notifications  # noqa: F401  # or the types are unknown
    from prefect.blocks.core import Block, UnknownBlockType

    valid = _blocks()
    if name not in valid:
        remedy = did_you_mean(name, valid) if valid else NO_BLOCK
        raise FaultsError([Fault("--notify: no such notification block", name, remedy)])
    _silence_apprise()
    try:
        block: Any = Block.load(name)
    except (ValueError, KeyError, TypeError, UnknownBlockType) as error:  # may name its secrets
        what = f"--notify: the notification block can't be used ({type(error).__name__})"
        raise FaultsError([Fault(what, name, "correct it in Prefect's UI, Blocks")]) from None
    return lambda what: block.notify(what.body, subject=what.subject)


def _blocks() -> list[str]:
    """The names of all notification blocks that the server has."""
    from prefect import get_client

    wanted = {
        "block_schemas": {"block_capabilities": {"all_": ["notify"]}},
        "include_secrets": False,
        "limit": MOST_BLOCKS,
    }
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/block_documents/filter", json=wanted).json()
    return [f"{each['block_type']['slug']}/{each['name']}" for each in found if each["name"]]


def _silence_apprise() -> None:
    """What it can't send is told by us, in one line that can't hold the address."""
    logger = logging.getLogger("apprise")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def _address() -> str:
    """Of the flow run in the UI; nothing where the server has none."""
    from prefect.context import FlowRunContext
    from prefect.settings import get_current_settings
    from prefect.utilities.urls import url_for

    context = FlowRunContext.get()
    if context is None or context.flow_run is None or not get_current_settings().server.ui.enabled:
        return ""
    return url_for("flow-run", context.flow_run.id) or ""


def _warn(line: str) -> None:
    """On the terminal, and in the run's log."""
    from prefect.logging import get_run_logger

    say(f"warning: {line}", sys.stderr)
    get_run_logger().warning(line)
