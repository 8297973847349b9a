"""What the start of a scene costs: by a fresh interpreter, and by a fork of a starter."""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from benchmarks.processes import CHECKOUT
from benchmarks.subject import Aim, Measure, Row, Size, Subject, UnavailableError, ratio
from benchmarks.synthetic_scene import NAME, build_scene
from training.execution.run_scene import run_scene
from training.plan.model import ScenePlan
from training.records.record import read_record

TRAINER = CHECKOUT / "training" / "simple_multi_human_trainer.py"
FRESH, FORKED = "fresh interpreter", "fork of a starter"
FIRST_EPOCH = "up to the first epoch"
TRAINING, GENERATION = "start and end", "DiFix data of a small scene"
TIME_LIMIT_S = 300
KEYS = {
    TRAINING: (),
    GENERATION: (
        "run_mode=difix_data_generation_generate",
        "difix_data_generation.require_checkpoint=false",
    ),
}
STARTS_ONLY = """
import pathlib, sys, time
sys.path.insert(0, {checkout!r})
from training import simple_multi_human_trainer as trainer

if __name__ == "__warm_up__":
    trainer.warm_up(sys.argv[1:])

def end(_run):
    moment = f"{{time.process_time()}} {{time.time()}}"
    pathlib.Path({moment!r}).write_text(moment)
    sys.exit(0)

if __name__ == "__main__":
    from training.trainer import loop
    loop.train = end
    sys.exit(trainer.main(sys.argv[1:]))
"""
"""The bundled trainer, which ends before its first epoch and writes down when that was."""


@dataclass
class Contender:
    """A supervisor of its own that is given the same scene again and again."""

    what: str
    plan: ScenePlan
    thread: ThreadPoolExecutor
    moment: Path
    """Where the script writes when its first epoch would have begun."""
    supervisor: psutil.Process | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def measure(self) -> list[Row]:
        """Return what the next start takes; raises UnavailableError where the scene fails."""
        plan = self._next_plan()
        before = self._cpu_s()
        outcome = self.thread.submit(run_scene, plan).result()
        if outcome.status != "done" or outcome.notice:
            raise UnavailableError(f"{outcome} {outcome.notice}")
        record = read_record(plan.output)
        if record is None:
            raise UnavailableError(f"{plan.output} has no record")
        attempt = record.attempts[0]
        self.supervisor = self.supervisor or psutil.Process(attempt.pid)
        row = partial(
            Row,
            variant=FORKED if plan.warm_start else FRESH,
            role="ours" if plan.warm_start else "peer",
        )
        rows = [
            row(f"{self.what}, CPU", samples=(self._cpu_s() - before,)),
            row(f"{self.what}, wall", samples=(outcome.attempt_s,)),
        ]
        if self.moment.exists():
            cpu_s, time = map(float, self.moment.read_text(encoding="utf-8").split())
            wall_s = time - attempt.start.timestamp()
            rows.append(row(f"{FIRST_EPOCH}, CPU", samples=(cpu_s,)))
            rows.append(row(f"{FIRST_EPOCH}, wall", samples=(wall_s,)))
            self.moment.unlink()
        return rows

    def _next_plan(self) -> ScenePlan:
        name = f"{self.plan.exp_name}_{next(self.numbers)}"
        output = self.plan.output.with_name(name)
        output.mkdir(parents=True)
        command = (*self.plan.command, f"shared.exp_name={name}")
        update = {"exp_name": name, "output": output, "command": command}
        return self.plan.model_copy(update=update)

    def _cpu_s(self) -> float:
        """Return the CPU seconds of the processes that have run its scenes."""
        if self.supervisor is None:
            return 0.0
        times = self.supervisor.cpu_times()
        return float(times.children_user + times.children_system)


@contextmanager
def opened(_size: Size) -> Iterator[Mapping[str, Measure]]:
    """Build a scene; yield both ways of starting it, each after a first scene."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        scene = build_scene(folder, 48, 2, (4, 28, 52))
        starts_only, moment = folder / "starts_only.py", folder / "moment"
        text = STARTS_ONLY.format(checkout=str(CHECKOUT), moment=str(moment))
        starts_only.write_text(text, encoding="utf-8")
        found: dict[str, Measure] = {}
        for what, script in ((TRAINING, starts_only), (GENERATION, TRAINER)):
            for way in (FRESH, FORKED):
                command = (sys.executable, str(script), *scene, "device=cpu", *KEYS[what])
                plan = _plan(folder, command, f"{what}_{way}".replace(" ", "_"))
                plan = plan.model_copy(update={"warm_start": way == FORKED})
                thread = stack.enter_context(ThreadPoolExecutor(1))
                contender = Contender(what, plan, thread, moment)
                contender.measure()  # compiles what is not compiled yet, and imports ahead
                found[f"{what}, {way}"] = contender.measure
        yield found


def _plan(folder: Path, command: tuple[str, ...], name: str) -> ScenePlan:
    return ScenePlan(
        name=NAME,
        exp_name=name,
        scene={},
        scene_file=folder / "registry" / f"{NAME}.json",
        action="run",
        reason="new",
        command=command,
        environment={"TS_STATE_ROOT": str(folder / "state"), "CUDA_VISIBLE_DEVICES": ""},
        output=folder / "results" / NAME / name,
        fingerprint="",
        expected_outputs=(),
        time_limit_s=TIME_LIMIT_S,
        kill_grace_s=1,
        cancelled=folder / "cancelled",
    )


def _aim(what: str, quantity: str) -> Aim:
    row = f"{what}, {quantity}"
    return Aim(f"{row}: warm / cold", ratio(row, FORKED, FRESH), 0.1)


WALL_AIM = _aim(FIRST_EPOCH, "wall")
WHY_WALL = (
    "A forked scene passes through three processes (supervisor, starter, scene), each of which has "
    "to get its turn; of CPU time it needs about a tenth."
)
SUBJECTS = (
    Subject(
        name="warm_start",
        title="Warm starts",
        about=(
            "Two supervisors are given a scene of two frames of 48 pixels again and again; one "
            "starts a fresh interpreter each time, the other forks a process that has imported the "
            "trainer's libraries. The trainer ends where its first epoch would begin: by then it "
            "has composed its configuration, checked its data and rendered nothing. DiFix data is "
            "more than a start."
        ),
        opened=opened,
        variants=tuple(f"{what}, {way}" for what in KEYS for way in (FRESH, FORKED)),
        why={WALL_AIM.text: WHY_WALL},
        aims=(_aim(FIRST_EPOCH, "CPU"), WALL_AIM),
    ),
)
