"""Who is told how a flow run ended, what they are told, and what a broken webhook can't do."""

from __future__ import annotations

import json
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from flows.notifications import notify
from flows.notifications.message import LONGEST, Notice, notice
from flows.notifications.notify import channels_of, deliver, hide_url
from flows.options import FlowOptions
from flows.server.managed import send_the_rest
from preprocess.faults import FaultsError
from training.plan.options import checked_options

FLOW = ("-m", "flows.train")
SECRET = "secret-token"
TOLD = Notice("exp: Failed", "1 of 2 scenes done", "failure")


@pytest.fixture
def webhook():
    """Somebody's webhook; `told` has what was posted, `status` is its answer once `go` is set."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.go.wait(60)
            made.told.append(body)
            self.send_response(made.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.told, made.status, made.go = [], 200, threading.Event()
        made.go.set()
        made.url = f"json://user:{SECRET}@127.0.0.1:{made.server_port}/"
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.go.set()
        made.shutdown()


@pytest.fixture(autouse=True)
def _nothing_is_kept(monkeypatch):
    """What one test hides is nothing to the next."""
    monkeypatch.setattr(notify, "_hidden", {})
    monkeypatch.delenv("TS_NOTIFY_URL", raising=False)


def state(name: str, message: str):
    """As much of a state as the text needs."""
    return SimpleNamespace(
        name=name,
        message=message,
        is_completed=lambda: name == "Completed",
        is_cancelled=lambda: name == "Cancelled",
    )


def test_the_message_says_what_a_person_who_was_not_looking_wants_to_know():
    """How it ended, the state's counts and names, how long it took, where to look."""
    failed = state("Failed", "1 of 2 scenes done; not done: a_1 (timeout)")
    told = notice("exp", failed, None, 7200, "http://lab/runs/1")
    assert told.subject == "exp: Failed"
    assert told.kind == "failure"
    assert told.body.splitlines() == [
        "1 of 2 scenes done; not done: a_1 (timeout)",
        "duration: 2:00 h",
        "run: http://lab/runs/1",
    ]


def test_a_long_message_is_cut():
    """Chat services refuse it otherwise."""
    told = notice("exp", state("Failed", "x" * 10_000), None, 1, "")
    assert len(told.body) < LONGEST + 100


def test_a_run_that_broke_is_told_as_crashed():
    """There is no state then."""
    told = notice("exp", None, None, 1, "")
    assert (told.subject, told.kind) == ("exp: Crashed", "failure")


def test_nobody_is_told_by_default():
    """No block, no URL."""
    assert FlowOptions(exp_name="exp").notify == ""
    assert channels_of("") == {}


@pytest.mark.parametrize("address", [f"https://host/{SECRET}", f"slack://{SECRET}"])
def test_an_address_on_the_command_line_is_refused_and_not_repeated(address):
    """Command lines are seen by everybody; the remedy is the variable."""
    with pytest.raises(FaultsError) as caught:
        checked_options(FlowOptions, {"exp_name": "exp", "notify": address})
    assert "TS_NOTIFY_URL" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["lab", "slack-webhook/", "Slack Webhook/lab", "a/b/c"])
def test_a_name_that_names_no_block_is_refused(name):
    """With an example of one."""
    with pytest.raises(FaultsError, match="as in slack-webhook/lab"):
        checked_options(FlowOptions, {"exp_name": "exp", "notify": name})


def test_the_url_is_taken_out_of_the_environment_and_told(webhook):
    """Workers and trainers do not inherit it."""
    environ = {"TS_NOTIFY_URL": webhook.url}
    hide_url(environ)
    assert environ == {}
    assert deliver(channels_of(""), TOLD) == {}
    (told,) = webhook.told
    assert (told["title"], told["message"]) == (TOLD.subject, TOLD.body)
    assert told["type"] == "failure"


@pytest.mark.parametrize("url", [f"nosuch://{SECRET}", SECRET, f"slack://{SECRET}"])
def test_a_broken_url_is_a_fault_that_does_not_repeat_it(url, monkeypatch, capfd):
    """Before anything starts; Apprise itself says nothing on the terminal."""
    monkeypatch.setenv("TS_NOTIFY_URL", url)
    with pytest.raises(FaultsError) as caught:
        channels_of("")
    assert "TS_NOTIFY_URL" in str(caught.value)
    assert SECRET not in str(caught.value) + "".join(capfd.readouterr())


def test_a_webhook_that_does_not_answer_is_not_waited_for(webhook, monkeypatch):
    """Longer than the bound; who answers is told all the same."""
    webhook.go.clear()
    monkeypatch.setattr(notify, "LONGEST_S", 0.5)
    monkeypatch.setenv("TS_NOTIFY_URL", webhook.url)
    others = []
    channels = {**channels_of(""), "other": others.append}
    assert deliver(channels, TOLD) == {"TS_NOTIFY_URL": "no answer in time"}
    assert others == [TOLD]


def test_what_a_webhook_raises_is_told_without_its_words():
    """They may have the address in them."""

    def send(_: Notice) -> None:
        raise ConnectionError(SECRET)

    assert deliver({"lab": send}, TOLD) == {"lab": "ConnectionError"}


@pytest.fixture
def in_server(prefect_api):
    """This process speaks to the server."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_api.url}):
        yield
        send_the_rest()  # or what sends events goes on sending later tests' there


@pytest.mark.usefixtures("in_server")
def test_a_block_is_found_by_its_name_and_told(webhook):
    """A real block on a real server; a misspelt one names the nearest, with nothing sent."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    CustomWebhookNotificationBlock(
        name="lab",
        url=f"http://127.0.0.1:{webhook.server_port}/{SECRET}",
        json_data={"text": "{{subject}} | {{body}}"},
    ).save("lab")
    assert deliver(channels_of("custom-webhook/lab"), TOLD) == {}
    assert webhook.told == [{"text": f"{TOLD.subject} | {TOLD.body}"}]
    webhook.status = 404
    problems = deliver(channels_of("custom-webhook/lab"), TOLD)
    assert problems == {"--notify custom-webhook/lab": "HTTPStatusError 404"}
    with pytest.raises(FaultsError, match=r"did you mean custom-webhook/lab\?"):
        channels_of("custom-webhook/lap")
    with pytest.raises(FaultsError, match="no such notification block"):
        channels_of("secret/lab")


def test_a_failed_run_is_told_and_its_trainers_do_not_know_whom(lab, prefect_api, webhook):
    """Counts, scene, cause, report and the run's address; the secret is nowhere else.

    The same command again, with a webhook that refuses: no failure, one line of warning. Then there
    is nothing to do, and nothing is said.
    """
    for name in ("a_1", "a_2"):
        lab.add_scene(name)
    lab.environment |= {"PREFECT_API_URL": prefect_api.url, "TS_NOTIFY_URL": webhook.url}
    flags = ("--run-all", "--exp-name", "told", "--overrides", "do=half", "only=a_2")
    result = lab.run(*flags, program=FLOW)
    assert result.returncode == 1, result.stderr
    (told,) = webhook.told
    assert told["title"] == "told: Failed"
    said, took, report, address = told["message"].splitlines()
    assert said == "1 of 2 scenes done; not done: a_2 (trainer_error)"
    assert took.startswith("duration: ")
    assert report == f"report: {lab.root}/results/_experiments/told/report.html"
    assert prefect_api.only_run("told")["id"] in address
    inherited = (lab.output("a_1", "told") / "environment.json").read_text()
    assert SECRET not in inherited + result.stdout + result.stderr
    webhook.status = 500
    result = lab.run(*flags, "do=ok", program=FLOW)
    assert result.returncode == 0, result.stderr
    assert webhook.told[1]["title"] == "told: Completed"
    (line,) = [each for each in result.stderr.splitlines() if "TS_NOTIFY_URL" in each]
    assert line.startswith("warning: TS_NOTIFY_URL: could not be told how the run ended")
    assert SECRET not in result.stdout + result.stderr
    assert lab.run(*flags, "do=ok", program=FLOW).returncode == 0
    assert len(webhook.told) == 2


def test_a_stopped_run_is_told(lab, prefect_api, webhook, eventually):
    """Ctrl-C; with how far it came."""
    lab.add_scene("a_1")
    lab.environment |= {"PREFECT_API_URL": prefect_api.url, "TS_NOTIFY_URL": webhook.url}
    flags = ("--exp-name", "stopped", "--kill-grace", "1", "--overrides", "do=hang")
    process = lab.popen(*flags, program=FLOW)
    eventually((lab.output("a_1", "stopped") / "ready.txt").exists, "the trainer")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    (told,) = webhook.told
    assert (told["title"], told["type"]) == ("stopped: Cancelled", "warning")
    assert told["message"].splitlines()[0] == "stopped on request; 0 of 1 scenes done"


def test_whom_nobody_can_tell_is_found_before_anything_starts(lab, prefect_api):
    """Exit status 2, with the remedy; no flow run, no record."""
    lab.add_scene("a_1")
    lab.environment |= {"PREFECT_API_URL": prefect_api.url}
    result = lab.run("--exp-name", "nobody", "--notify", "slack-webhook/lab", program=FLOW)
    assert result.returncode == 2
    assert "no such notification block: slack-webhook/lab" in result.stderr
    found = prefect_api.ask("/flow_runs/filter", flow_runs={"name": {"any_": ["nobody"]}})
    assert found == []
    assert not lab.output("a_1", "nobody").exists()
