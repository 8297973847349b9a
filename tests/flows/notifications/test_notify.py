"""Notifications about a flow run's end: to whom, with which text, and despite a broken webhook."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest

from flows import flow
from flows.notifications import notify
from flows.notifications.message import LONGEST, Notice, notice
from flows.notifications.notify import channels_of, deliver, hide_url
from flows.options import FlowOptions
from flows.server.managed import STOP_TIMEOUT_S
from preprocess.faults import FaultsError
from training.plan.options import checked_options

SECRET = "secret-token"
MESSAGE = Notice("exp: Failed", "1 of 2 scenes done", "failure")


@pytest.fixture(autouse=True)
def _no_url_is_left(monkeypatch):
    """Each test begins without an Apprise URL."""
    monkeypatch.setattr(notify, "_hidden", {})
    monkeypatch.delenv("TS_NOTIFY_URL", raising=False)


def state(name: str, message: str):
    """A stand-in for Prefect's state, with what the text needs."""
    return SimpleNamespace(
        name=name,
        message=message,
        is_completed=lambda: name == "Completed",
        is_cancelled=lambda: name == "Cancelled",
    )


def test_the_message_says_how_the_run_ended_and_where_to_look():
    """It has the end, the state's counts and names, the duration, and where to look."""
    failed = state("Failed", "1 of 2 scenes done; not done: a_1 (timeout)")
    message = notice("exp", failed, (), 7200, "http://lab/runs/1")
    assert message.subject == "exp: Failed"
    assert message.kind == "failure"
    assert message.body.splitlines() == [
        "1 of 2 scenes done; not done: a_1 (timeout)",
        "duration: 2:00 h",
        "run: http://lab/runs/1",
    ]


def test_a_long_message_is_cut():
    """Chat services refuse long ones."""
    message = notice("exp", state("Failed", "x" * 10_000), (), 1, "")
    assert len(message.body) < LONGEST + 100


def test_a_run_that_an_exception_ended_is_called_crashed():
    """It has no state."""
    message = notice("exp", None, (), 1, "")
    assert (message.subject, message.kind) == ("exp: Crashed", "failure")


def test_nothing_is_sent_by_default():
    """There is no channel without block and URL."""
    assert FlowOptions(exp_name="exp").notify == ""
    assert channels_of("") == {}


@pytest.mark.parametrize("address", [f"https://host/{SECRET}", f"slack://{SECRET}"])
def test_an_address_on_the_command_line_is_refused_and_not_repeated(address):
    """All users of a machine see command lines; the remedy names the variable."""
    with pytest.raises(FaultsError) as caught:
        checked_options(FlowOptions, {"exp_name": "exp", "notify": address})
    assert "TS_NOTIFY_URL" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["lab", "slack-webhook/", "Slack Webhook/lab", "a/b/c"])
def test_a_name_that_names_no_block_is_refused(name):
    """The remedy has an example of a name."""
    with pytest.raises(FaultsError, match="as in slack-webhook/lab"):
        checked_options(FlowOptions, {"exp_name": "exp", "notify": name})


def test_the_url_is_taken_out_of_the_environment_and_notified(webhook):
    """Workers and trainers do not inherit it; it is used all the same."""
    environ = {"TS_NOTIFY_URL": webhook.url}
    hide_url(environ)
    assert environ == {}
    assert deliver(channels_of(""), MESSAGE) == {}
    (received,) = webhook.received
    assert (received["title"], received["message"]) == (MESSAGE.subject, MESSAGE.body)
    assert received["type"] == "failure"


@pytest.mark.parametrize("url", [f"nosuch://{SECRET}", SECRET, f"slack://{SECRET}"])
def test_a_broken_url_is_a_fault_that_does_not_repeat_it(url, monkeypatch, capfd):
    """It is found before anything starts; Apprise itself logs nothing on the terminal."""
    monkeypatch.setenv("TS_NOTIFY_URL", url)
    with pytest.raises(FaultsError) as caught:
        channels_of("")
    assert "TS_NOTIFY_URL" in str(caught.value)
    assert SECRET not in str(caught.value) + "".join(capfd.readouterr())


def test_a_webhook_that_does_not_answer_is_not_waited_for(webhook, monkeypatch):
    """Not longer than the bound; the other channels get the message all the same."""
    webhook.go.clear()
    monkeypatch.setattr(notify, "LONGEST_S", 0.5)
    monkeypatch.setenv("TS_NOTIFY_URL", webhook.url)
    others = []
    channels = {**channels_of(""), "other": others.append}
    assert deliver(channels, MESSAGE) == {"TS_NOTIFY_URL": "no answer in time"}
    assert others == [MESSAGE]


def test_an_error_of_a_webhook_is_named_without_its_text():
    """The text may contain the address."""

    def send(_: Notice) -> None:
        raise ConnectionError(SECRET)

    assert deliver({"lab": send}, MESSAGE) == {"lab": "ConnectionError"}


@pytest.fixture
def in_server(prefect_api):
    """This process uses the tests' server."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.adapters.prefect_adapter import send_buffered

    with temporary_settings({PREFECT_API_URL: prefect_api.url}):
        yield
        send_buffered(STOP_TIMEOUT_S)  # else Prefect sends later tests' events there too


@pytest.mark.usefixtures("in_server")
def test_a_block_is_found_by_its_name_and_notified(webhook):
    """A real block on a real server; for a misspelt name the remedy has the nearest one."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    CustomWebhookNotificationBlock(
        name="lab",
        url=f"http://127.0.0.1:{webhook.server_port}/{SECRET}",
        json_data={"text": "{{subject}} | {{body}}"},
    ).save("lab")
    assert deliver(channels_of("custom-webhook/lab"), MESSAGE) == {}
    assert webhook.received == [{"text": f"{MESSAGE.subject} | {MESSAGE.body}"}]
    webhook.status = 404
    problems = deliver(channels_of("custom-webhook/lab"), MESSAGE)
    assert problems == {"--notify custom-webhook/lab": "HTTPStatusError 404"}
    with pytest.raises(FaultsError, match=r"did you mean custom-webhook/lab\?"):
        channels_of("custom-webhook/lap")
    with pytest.raises(FaultsError, match="no such notification block"):
        channels_of("secret/lab")


@pytest.mark.usefixtures("in_server")
def test_a_block_that_does_not_exist_is_found_before_anything_starts(prefect_api):
    """Of a plan from a command line; there is no flow run."""
    options = FlowOptions(exp_name="nobody", notify="slack-webhook/lab")
    with pytest.raises(FaultsError, match="no such notification block: slack-webhook/lab"):
        flow.run_plans(options, ["a plan"])
    assert prefect_api.runs("nobody") == []


@pytest.mark.parametrize(
    ("settings", "is_refused"),
    [
        ({}, True),
        ({"PREFECT_API_URL": "http://server/api"}, False),
        ({"PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://db/prefect"}, False),
    ],
)
def test_without_a_server_of_ones_own_no_block_can_be_there(settings, is_refused, monkeypatch):
    """It is found before any server is started; one that the user names may have it."""
    monkeypatch.setattr(notify, "read_settings", lambda: settings)
    refusal = pytest.raises(FaultsError, match="no such notification block: slack-webhook/lab")
    with refusal if is_refused else contextlib.nullcontext():
        notify.check_channels("slack-webhook/lab")
