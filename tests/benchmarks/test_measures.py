"""What subjects measure with, without what takes long: writes, stamps, scenes' lengths, costs."""

from __future__ import annotations

import asyncio
import sys

import pytest

from benchmarks import peers, processes
from benchmarks.counting_server import WRITTEN, CountWrites, is_write
from benchmarks.slurm import makespan
from benchmarks.slurm.contenders import Contender
from benchmarks.slurm.lab import Lab
from benchmarks.subject import UnavailableError


@pytest.mark.parametrize(
    ("method", "path", "writes"),
    [
        ("GET", "/api/flow_runs/1", False),
        ("POST", "/api/task_runs/filter", False),
        ("POST", "/api/task_runs/", True),
        ("POST", "/api/flow_runs/1/set_state", True),
        ("PATCH", "/api/artifacts/1", True),
    ],
)
def test_what_counts_as_a_write(method, path, writes):
    assert is_write(method, path) is writes


def test_writes_by_requests_and_sockets_are_counted():
    """And the server says how many, without asking the application."""
    seen, sent = [], []

    async def application(scope, receive, _send):
        seen.append(scope["type"])
        while (await receive())["type"] == "websocket.receive":
            pass

    def receiver(*kinds):
        kinds = iter(kinds)

        async def receive():
            return {"type": next(kinds)}

        return receive

    async def send(message):
        sent.append(message)

    async def talk():
        app = CountWrites(application)
        post = {"type": "http", "method": "POST", "path": "/api/logs/"}
        await app(post, receiver("http.request"), send)
        kinds = ("websocket.receive", "websocket.receive", "websocket.disconnect")
        await app({"type": "websocket", "path": "/api/events/in"}, receiver(*kinds), send)
        await app({"type": "http", "method": "GET", "path": WRITTEN}, receiver(), send)

    asyncio.run(talk())
    assert seen == ["http", "websocket"]
    assert sent[-1]["body"] == b"3"


def test_mixed_scenes_are_the_same_each_time_and_take_as_long_as_equal_ones():
    mixed = makespan.mixed(40)
    assert mixed == makespan.mixed(40)
    assert sum(mixed) == pytest.approx(sum(makespan.equal(40)))
    assert max(mixed) > 3 * min(mixed)


@pytest.mark.parametrize(("durations", "ideal"), [([1.0] * 8, 2.0), ([0.5, 5.0, 0.5], 5.0)])
def test_the_ideal_is_no_shorter_than_the_longest_scene(durations, ideal):
    assert makespan.ideal_s(durations) == ideal


def test_a_contender_that_runs_more_at_once_than_it_may_is_refused():
    """One scene that begins when another ends is none more."""
    began, ended = [0.0, 0.0, 0.0, 0.0, 1.0], [1.0, 2.0, 2.0, 2.0, 2.0]
    makespan.check_parallelism(began, ended)
    with pytest.raises(UnavailableError, match="5 scenes at once, 4 are allowed"):
        makespan.check_parallelism([*began[:-1], 0.9], ended)


def test_rows_of_a_contenders_stamps(tmp_path):
    """Moments since its command, the part after the first job as a multiple, and its queries."""
    (tmp_path / "jobs").write_text("102\n101\n")
    (tmp_path / "began").write_text("105\n103\n")
    (tmp_path / "ended").write_text("104\n111\n119")  # a line that is still being written
    (tmp_path / "calls").write_text("sbatch\nsqueue\nsqueue\n")
    contender = Contender("rival", "peer", lambda *_: [])
    rows = makespan.rows_of(contender, tmp_path, 100.0, 130.0, 5.0)
    assert {row.name: row.samples[0] for row in rows} == {
        makespan.FIRST: 3,
        makespan.LAST: 11,
        makespan.END: 30,
        makespan.JOBS: 2,
        makespan.CALLS: 4,
    }
    assert {(row.variant, row.role) for row in rows} == {("rival", "peer")}


class Queue:
    """A cluster on which a job stays until it is cancelled."""

    def __init__(self):
        self.jobs = ["left"]

    def cancel_all(self):
        self.jobs.clear()

    def wait_empty(self):
        if self.jobs:
            raise TimeoutError("a job is left")


def test_a_contender_that_fails_leaves_no_job_to_the_next_one():
    queue = Queue()
    with pytest.raises(UnavailableError, match="lost"), Lab(queue, {}).cleared():
        raise UnavailableError("lost")
    assert not queue.jobs


def test_jobs_that_do_not_end_are_a_reason():
    with pytest.raises(UnavailableError, match="a job is left"), Lab(Queue(), {}).cleared():
        pass


def test_a_peer_that_is_not_installed_says_what_installs_it(monkeypatch, tmp_path):
    monkeypatch.setattr(peers, "OWN", tmp_path / "python")
    with pytest.raises(UnavailableError, match="no-such-thing is not installed; make bench"):
        peers.python_with("no-such-thing")


def test_the_extra_names_every_peer():
    assert {"submitit", "snakemake"} <= {name.split(">")[0] for name in peers.requirements()}


def test_a_command_that_fails_says_its_last_words():
    command = [sys.executable, "-S", "-c", "raise SystemExit('no luck')"]
    with pytest.raises(UnavailableError, match=r"exit status 1 after \d+ s: no luck"):
        processes.run_command(command)


def test_last_words_are_one_line_without_this_machines_paths():
    text = f"much more\n{processes.CHECKOUT}/flows/train.py\n\n  no luck  \n"
    assert processes.last_words(text) == "much more / ./flows/train.py / no luck"
    assert processes.last_words("x" * 999 + "end")[-4:] == "xend"


def test_a_command_that_does_not_end_is_ended():
    with pytest.raises(UnavailableError, match="exit status -9"):
        processes.run_command(["sleep", "60"], timeout_s=0.1)
