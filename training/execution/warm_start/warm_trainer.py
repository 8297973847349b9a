"""A supervisor's way of starting trainers: through its starter, and cold where that can't be."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from training.configuration.job_variables import SECRET
from training.execution.trainer_process import ColdTrainer, Trainer
from training.execution.warm_start.learnt_imports import (
    LearntImports,
    imports_file,
    learnt_imports,
    scene_in,
)
from training.execution.warm_start.starter_process import Answer, StarterProcess
from training.system.claim_file import VARIABLE as CLAIM_VARIABLE
from training.system.processes import signal_group

WARM_UP = b"__warm_up__"
"""A script that mentions it is run under this name before a scene is known."""
MOST_LOST = 3
"""So many starters of a supervisor may end by themselves."""
ONCE = 2
"""Requests to a starter that has started one scene: the second one it has refused."""
MOST_USED_ONCE = 3
"""So many in succession may have been of use for one scene only."""
ABORT_S = 5.0
"""Within this time nothing of a starter that was killed is left that could start a scene."""


@dataclass(frozen=True)
class Start:
    """What a trainer is started with."""

    command: tuple[str, ...]
    environment: dict[str, str]
    log: IO[bytes]

    def cold(self) -> ColdTrainer:
        """Start a fresh interpreter; raises OSError."""
        return ColdTrainer(self.command, self.environment, self.log)

    def has_warm_up(self) -> bool:
        """Return whether the script says itself what is to be imported ahead."""
        with contextlib.suppress(OSError):
            return WARM_UP in Path(self.command[1]).read_bytes()
        return False


class WarmStarts:
    """Starts the trainers of one supervisor, one after the other, through a starter."""

    def __init__(self) -> None:
        self._starter: StarterProcess | None = None
        self._script = ""
        self._lost = self._used_once = 0
        self._is_off = False
        self._notice = ""

    def for_script(self, script: str) -> WarmStarts:
        """Return this, for a scene whose plan has that script: its imports are known by it."""
        self._script = script
        return self

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> Trainer:
        """Start a trainer as quickly as it can be; raises OSError where it can't be started."""
        start = Start(tuple(command), dict(environment), log)
        state_root = environment.get("TS_STATE_ROOT")
        if self._is_off or not state_root:
            return start.cold()
        file = imports_file(Path(state_root), command[0], self._script)
        return WarmTrainer(self, start, learnt_imports(file, command[2:]))

    def kept_processes(self) -> frozenset[int]:
        """Return the starter's process id."""
        return frozenset({self._starter.pid} if self._starter else ())

    def ask(self, start: Start, request: Mapping[str, Any]) -> Answer:
        """Ask the starter, a new one if there is none that lives, to start a trainer.

        Raises OSError.
        """
        if self._starter is not None and not self._starter.lives():
            self.close()
        if self._starter is None:
            of_all = {**start.environment}
            of_all.pop(CLAIM_VARIABLE, None)  # it is no process of the first scene
            self._starter = StarterProcess(start.command[0], of_all, start.log)
        answer = self._starter.ask(request, start.log)
        self._starter.served += 1
        return answer

    def renew(self, reason: str) -> bool:
        """End the starter, which does not serve the next scene; return whether to ask another."""
        served = self._starter.served if self._starter else 0
        in_vain = reason.endswith("has changed") and served <= ONCE
        self._used_once = self._used_once + 1 if in_vain else 0
        self.close()
        if self._used_once == MOST_USED_ONCE:
            self.give_up(f"{reason} from scene to scene")
        return not self._is_off

    def note_lost_starter(self) -> None:
        """Note that the starter has ended by itself."""
        self.close()
        self._lost += 1
        if self._lost == MOST_LOST:
            self.give_up(f"its starter has ended {MOST_LOST} times")

    def leave_out(self, learnt: LearntImports, module: str, reason: str) -> None:
        """Import no more ahead than what comes before a module."""
        if not learnt.end_before(module):
            self.give_up(f"{module} {reason}")
            return
        self.close()
        self._notice = f"{module} {reason}: each scene imports it, and what follows it, for itself"

    def give_up(self, reason: str) -> None:
        """Start a fresh interpreter for each scene from now on."""
        self.close()
        self._is_off = True
        self._notice = f"each scene starts a fresh interpreter, as with --cold-start: {reason}"

    def take_notice(self) -> str:
        """Return what a person is to be told, once; empty for nothing."""
        notice, self._notice = self._notice, ""
        return notice

    def close(self) -> None:
        """End the starter; what it has started goes on."""
        if self._starter is not None:
            self._starter.close()
            self._starter = None


class WarmTrainer:
    """A trainer that a starter has been asked for.

    Until there is an answer it is like one whose interpreter still imports: signals end it.
    """

    def __init__(self, starts: WarmStarts, start: Start, learnt: LearntImports) -> None:
        """Ask; raises OSError where no interpreter can be started at all."""
        self._starts, self._start, self._learnt = starts, start, learnt
        self._trainer: Trainer | None = None
        self._ended_by: int | None = None
        self._answer: Answer | None = None
        self._ask()

    @property
    def exit_status(self) -> int | None:
        """See `Trainer.exit_status`."""
        return self._trainer.exit_status if self._trainer else self._ended_by

    def poll(self) -> int | None:
        """See `Trainer.poll`; raises OSError where no interpreter can be started at all."""
        if self._answer is not None:
            self._take_answer(self._answer.read())
        return self._trainer.poll() if self._trainer else self._ended_by

    def wait(self) -> None:
        """See `Trainer.wait`."""
        if self._trainer:
            self._trainer.wait()

    def send_signal(self, number: int) -> None:
        """See `Trainer.send_signal`."""
        if self._trainer:
            self._trainer.send_signal(number)

    def signal_group(self, number: int) -> None:
        """See `Trainer.signal_group`."""
        if self._answer is not None:
            self._starts.close()
            found = self._answer.read(ABORT_S) or {}
            self._answer = None
            self._trainer = AdoptedTrainer(found["pid"]) if "pid" in found else None
            self._ended_by = None if self._trainer else -number
        if self._trainer:
            self._trainer.signal_group(number)

    def _ask(self) -> None:
        """Ask for the trainer, or start it cold; raises OSError where that can't be either."""
        learnt, has_warm_up = self._learnt, self._start.has_warm_up()
        request = {
            "argv": self._start.command,
            "environ": self._start.environment,
            "supervisor": os.getpid(),
            "has_warm_up": has_warm_up,
            "steps": [] if has_warm_up else learnt.steps,
            "own": [] if has_warm_up else learnt.own,
            "learn": "" if has_warm_up or learnt.is_known else str(learnt.file),
            "arguments": learnt.arguments,
            "scene": scene_in(self._start.command),
            "secret": SECRET.pattern,
        }
        try:
            self._answer = self._starts.ask(self._start, request)
        except OSError:
            self._starts.note_lost_starter()
            self._trainer = self._start.cold()

    def _take_answer(self, answer: dict[str, Any] | None) -> None:
        if answer is None:
            return
        self._answer = None
        if "pid" in answer:
            self._trainer = AdoptedTrainer(answer["pid"])
        elif "renew" in answer and self._starts.renew(answer["renew"]):
            self._ask()
        else:
            if "renew" not in answer:
                self._refused(answer)
            self._trainer = self._start.cold()

    def _refused(self, answer: dict[str, Any]) -> None:
        if not answer:
            self._starts.note_lost_starter()
        elif answer.get("module") in {step[1] for step in self._learnt.steps}:
            self._starts.leave_out(self._learnt, answer["module"], answer["cold"])
        else:
            self._starts.give_up(" ".join(filter(None, [answer.get("module"), answer["cold"]])))


class AdoptedTrainer:
    """A process that a starter has forked and orphaned, so that it is a child of this one."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._exit_status: int | None = None

    @property
    def exit_status(self) -> int | None:
        """See `Trainer.exit_status`."""
        return self._exit_status

    def poll(self) -> int | None:
        """See `Trainer.poll`."""
        return self._collect(os.WNOHANG)

    def wait(self) -> None:
        """See `Trainer.wait`."""
        self._collect(0)

    def send_signal(self, number: int) -> None:
        """See `Trainer.send_signal`."""
        if self.poll() is None:
            os.kill(self._pid, number)

    def signal_group(self, number: int) -> None:
        """See `Trainer.signal_group`."""
        signal_group(self._pid, number)

    def _collect(self, options: int) -> int | None:
        if self._exit_status is None:
            pid, status = os.waitpid(self._pid, options)
            if pid:
                self._exit_status = os.waitstatus_to_exitcode(status)
        return self._exit_status
