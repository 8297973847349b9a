"""Do a fault every few seconds, chosen by a seeded generator, to what runs at that moment."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.faults.soak.verdict import running_pids

WORKER = "flows.slurm.dask_worker"
TRAINER = "soak/trainer.py"
FROZEN_S = (1.0, 8.0)
AWAY_S = (2.0, 15.0)
OFTEN, SELDOM, RARELY = 12, 4, 1
RESTARTS_BY_HAND = 5
"""So often the whole flow is killed at most: each time its jobs end with it."""


class Injector:
    """Faults on a lab's processes and its private Slurm, from a thread of its own."""

    def __init__(self, lab: Any, cluster: Any, log: Path, seed: int, every_s: float) -> None:
        self._lab = lab
        self._cluster = cluster
        self._log = log
        self._random = random.Random(seed)
        self._every_s = every_s
        self._stop = threading.Event()
        self.flow: psutil.Process | None = None
        """The process of the flow; None where an array runs."""
        self.done: Counter[str] = Counter()
        """How often each fault was done."""
        self.problems: list[str] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Do faults while the block runs."""
        self._stop.clear()
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def pause(self) -> None:
        """Do no further fault."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._random.expovariate(1 / self._every_s)):
            faults = self._faults()  # others while a flow runs than between two runs
            weights = [weight for weight, _ in faults.values()]
            (name,) = self._random.choices(list(faults), weights)
            try:
                if faults[name][1]():
                    self.done[name] += 1
            except psutil.Error:
                continue  # it had ended by itself
            except Exception as error:  # noqa: BLE001 - a fault that can't be done ends no soak
                self.problems.append(f"{name}: {error}")

    def _faults(self) -> dict[str, tuple[int, Callable[[], bool]]]:
        found = {
            "a trainer killed": (OFTEN, lambda: self._kill(self._trainers())),
            "a supervisor killed": (OFTEN, lambda: self._kill(self._parents())),
            "a trainer frozen": (SELDOM, lambda: self._freeze(self._trainers())),
            "a supervisor frozen": (SELDOM, lambda: self._freeze(self._parents())),
            "a job cancelled": (SELDOM, lambda: self._on_job("scancel")),
            "a job requeued": (OFTEN, lambda: self._on_job("scontrol", "requeue")),
            "a node lost": (RARELY, self._lose_node),
            "the controller away": (RARELY, self._controller_away),
        }
        if self.flow is not None:
            found |= {
                "a worker killed": (OFTEN, lambda: self._kill(self._with(WORKER))),
                "a worker frozen": (SELDOM, lambda: self._freeze(self._with(WORKER))),
                "the server killed": (RARELY, lambda: self._kill(self._with("flows.server"))),
                "the flow killed": (RARELY, self._kill_flow),
            }
        return found

    def _with(self, word: str) -> list[psutil.Process]:
        found = []
        for process in self._lab.strays():
            with contextlib.suppress(psutil.Error):
                found += [process] * any(word in each for each in process.cmdline())
        return found

    def _trainers(self) -> list[psutil.Process]:
        """Return the trainers that their own log names and that are alive."""
        found = []
        for pid in running_pids(self._log):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                found += [process] * any(TRAINER in each for each in process.cmdline())
        return found

    def _parents(self) -> list[psutil.Process]:
        found = []
        for each in self._trainers():
            parent = each.parent()
            is_ours = parent is not None and "python" in parent.name() and parent != self.flow
            found += [parent] * is_ours
        return found

    def _kill(self, candidates: list[psutil.Process]) -> bool:
        if candidates:
            self._random.choice(candidates).kill()
        return bool(candidates)

    def _freeze(self, candidates: list[psutil.Process]) -> bool:
        if not candidates:
            return False
        process = self._random.choice(candidates)
        process.suspend()
        self._later(self._random.uniform(*FROZEN_S), lambda: process.send_signal(signal.SIGCONT))
        return True

    def _later(self, delay_s: float, act: Callable[[], object]) -> None:
        def run() -> None:
            with contextlib.suppress(psutil.Error):
                act()

        threading.Timer(delay_s, run).start()

    def _on_job(self, *command: str) -> bool:
        running = [each.job_id for each in self._cluster.squeue() if each.state == "RUNNING"]
        if running:
            self._cluster.call(*command, self._random.choice(running), check=False)
        return bool(running)

    def _lose_node(self) -> bool:
        name = self._random.choice(self._cluster.nodes)
        self._cluster.crash_node(name)
        time.sleep(self._random.uniform(*AWAY_S))
        self._cluster.revive(name)
        return True

    def _controller_away(self) -> bool:
        self._cluster.stop_controller()
        time.sleep(self._random.uniform(*AWAY_S))
        self._cluster.start_controller()
        return True

    def _kill_flow(self) -> bool:
        if self.flow is None or self.done["the flow killed"] >= RESTARTS_BY_HAND:
            return False
        self.flow.kill()
        return True
