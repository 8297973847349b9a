"""Breakages of the product, each of which turns the tests red that name it.

`python -m tests.faults.red` does them one after the other and writes down what was red.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Breakage:
    """A text that stands once in a file, and what is put in its place."""

    says: str
    file: str
    old: str
    new: str


BREAKAGES: dict[str, Breakage] = {
    "any exit status is success": Breakage(
        "an exit status other than 0 passes for success",
        "training/execution/end_cause.py",
        "    if end.exit_status == 0:\n        return Cause.OK",
        "    if not end.stopped:\n        return Cause.OK",
    ),
    "outputs are not looked for": Breakage(
        "exit status 0 is enough, whatever was written",
        "training/execution/end_cause.py",
        "if end.exit_status == 0 and missing:",
        "if end.exit_status == 0 and missing is None:",
    ),
    "lost workers are not retried": Breakage(
        "a lost worker is final",
        "training/records/retry_policy.py",
        "Cause.NODE_FAILURE, Cause.WORKER_LOST}",
        "Cause.NODE_FAILURE}",
    ),
    "a stop on request is a failure": Breakage(
        "a trainer that was stopped on request has failed",
        "training/execution/end_cause.py",
        '    if context.cancelled:\n        return Cause.CANCELLED, "stopped on request"',
        '    if context.cancelled:\n        return Cause.TRAINER_ERROR, "stopped on request"',
    ),
    "a trainer without its launcher is cancelled": Breakage(
        "a scene whose launcher or flow was killed passes for cancelled",
        "training/execution/end_cause.py",
        '    if end.stopped == "orphaned":\n        return Cause.WORKER_LOST',
        '    if end.stopped == "orphaned":\n        return Cause.CANCELLED',
    ),
    "a trainer whose flow is gone is cancelled": Breakage(
        "a scene in a job whose flow was killed passes for cancelled",
        "training/execution/end_cause.py",
        'end.stopped == "launcher":\n        return Cause.WORKER_LOST',
        'end.stopped == "launcher":\n        return Cause.CANCELLED',
    ),
    "nothing is tried again": Breakage(
        "every attempt is the last one",
        "training/records/retry_policy.py",
        "attempts <= max_retries and (outcome.cause in ELSEWHERE or resumes or fits)",
        "attempts < 0 and (outcome.cause in ELSEWHERE or resumes or fits)",
    ),
    "an array's task has one attempt": Breakage(
        "an array's task whose job starts again has no attempt left",
        "training/jobs/array_task.py",
        "if _attempts(plan, scene) > plan.max_retries:",
        "if _attempts(plan, scene) > 0:",
    ),
    "Slurm is not asked why a job ended": Breakage(
        "no state of a job means a cause",
        "training/jobs/job_cause.py",
        "return CAUSES.get(end.state), ",
        "return None, ",
    ),
    "a claim that is held is free": Breakage(
        "a living holder of a scene is overlooked",
        "training/records/claim.py",
        "return None if holder is None else _living(holder, newest, ended_job)",
        "return None",
    ),
    "a server that dies is not started again": Breakage(
        "Prefect's server is given up when it has died once",
        "flows/server/managed.py",
        "if len(restarts) == MAX_RESTARTS and",
        "if not restarts or",
    ),
    "the kernel's kills are not counted": Breakage(
        "nobody asks the kernel whom it has killed for want of memory",
        "training/execution/attempt.py",
        "killed = end_cause.kernel_kills() > kills_before",
        "killed = kills_before < 0",
    ),
    "a timeout is not the end": Breakage(
        "a trainer that was stopped at its time limit counts by its exit status",
        "training/execution/end_cause.py",
        'if end.stopped == "timeout":',
        'if end.stopped == "never":',
    ),
    "no KILL": Breakage(
        "a trainer that is overdue is not killed",
        "training/execution/trainer_process.py",
        'elif reason == "timeout" or _is_urgent',
        "elif _is_urgent",
    ),
    "an attempt without an end stays open": Breakage(
        "the next attempt does not close a record that says running",
        "training/execution/attempt.py",
        "return record.ended(Cause.WORKER_LOST, None, UNTOLD)",
        "return record",
    ),
    "a timeout is not tried again": Breakage(
        "a scene is not tried again from the checkpoint that it had at its time limit",
        "training/records/retry_policy.py",
        "outcome.cause is Cause.TIMEOUT and outcome.has_checkpoint",
        "outcome.cause is None and outcome.has_checkpoint",
    ),
    "output is thrown away": Breakage(
        "the trainer's output goes nowhere",
        "training/execution/trainer_process.py",
        'with log.open("ab") as stream:',
        'with Path("/dev/null").open("ab") as stream:',
    ),
    "descendants are left alone": Breakage(
        "what a trainer leaves in sessions of its own is not ended",
        "training/execution/trainer_process.py",
        "            kill_descendants(starts.kept_processes())\n",
        "",
    ),
    "the trainer's exit is not noted": Breakage(
        "the exit status is not written down before the record",
        "training/execution/attempt.py",
        "if end.exit_status == 0 and not end.stopped:",
        "if end.exit_status is None and not end.stopped:",
    ),
    "a claim is never lost": Breakage(
        "who wakes up does not see that another run has the scene",
        "training/system/claim_file.py",
        "(newest := numbered(path.parent)[-1:]) and newest != [path]",
        "(newest := numbered(path.parent)[-1:]) and newest < [path]",
    ),
    "nothing is tried on another node": Breakage(
        "a node on which nothing can start is not avoided",
        "flows/slurm/avoided_nodes.py",
        "self._until.update(dict.fromkeys(nodes, now + AVOID_BAD_S))",
        "self._until.update({})",
    ),
    "an array's job is started again on the same node": Breakage(
        "no node is excluded for the jobs of an array that are left",
        "training/slurm/start_elsewhere.py",
        'ExcNodeList="$ts_nodes" >/dev/null',
        'ExcNodeList="" >/dev/null',
    ),
    "a command that fails has an empty answer": Breakage(
        "a command of Slurm's that fails counts as one that prints nothing",
        "training/slurm/client.py",
        "    if result.returncode == 0:\n        return result.stdout",
        '    if result.returncode:\n        return ""\n    if result.returncode == 0:\n'
        "        return result.stdout",
    ),
    "a command that hangs has an empty answer": Breakage(
        "a command of Slurm's that hangs counts as one that prints nothing",
        "training/slurm/client.py",
        'raise SlurmAwayError(f"{command[0]}: no answer within {TIMEOUT_S:g} s") from error',
        'return ""',
    ),
    "garbage is an empty queue": Breakage(
        "what is no queue counts as an empty one",
        "training/slurm/client.py",
        "    if not parsers.is_queue(text):",
        "    if parsers.is_queue(text) is None:",
    ),
    "garbage is a configuration": Breakage(
        "what scontrol prints is kept as Slurm's configuration, whatever it is",
        "training/slurm/client.py",
        "    if not CONFIGURATION_KEYS & found.keys():",
        "    if CONFIGURATION_KEYS & found.keys() is None:",
    ),
    "completion text or nothing": Breakage(
        "how a job ended is not known from squeue where scontrol does not answer",
        "training/slurm/client.py",
        "    with contextlib.suppress(SlurmError):  # what squeue knows counts all the same",
        "    with contextlib.suppress(ArithmeticError):",
    ),
    "accounting alone is asked": Breakage(
        "how a job ended is not known from squeue where there is accounting",
        "training/slurm/client.py",
        "        if not wanted <= ends.keys():",
        "        if not wanted <= ends.keys() and not _has_accounting():",
    ),
    "a job is submitted once": Breakage(
        "a job whose submission has no answer is not submitted again",
        "training/slurm/client.py",
        "SUBMIT_ATTEMPTS = 7",
        "SUBMIT_ATTEMPTS = 1",
    ),
    "a job that may be taken is not looked up": Breakage(
        "a job whose submission has no answer is submitted again without a look at the queue",
        "training/slurm/client.py",
        "job_id = _look_up(command) if may_be_taken else None",
        "job_id = _look_up(command) if not may_be_taken and attempt else None",
    ),
    "a scene on a lost node is given up": Breakage(
        "nobody waits for the scene of a worker that is lost with a node, which may train on",
        "flows/slurm/job_dispatch.py",
        'while outcome.status == "held" and _still_runs_in(scene, job):',
        'while outcome.status == "never" and _still_runs_in(scene, job):',
    ),
    "a job that waits is not in the queue": Breakage(
        "jobs that wait in Slurm's queue are overlooked",
        "training/slurm/parsers.py",
        'for row in _rows(text) if row["State"] not in ENDED]',
        'for row in _rows(text) if row["State"] not in {*ENDED, "PENDING"}]',
    ),
    "a query that fails ends the run": Breakage(
        "a moment in which Slurm does not answer ends the run",
        "flows/slurm/job_pool.py",
        "        except SlurmError as error:\n"
        '            self._report("slurm", f"Slurm does not answer as it should: {error}")\n'
        "        except Exception",
        "        except Exception",
    ),
    "an array that is not submitted passes for one": Breakage(
        "a submission that Slurm has not answered ends without a word, as if all were well",
        "training/jobs/submit.py",
        '        say(f"nothing was submitted: {error}", sys.stderr)\n        return FAILED',
        "        return DONE",
    ),
    "what Slurm says closes no record": Breakage(
        "a record that says running is not closed by what Slurm says of its job",
        "training/jobs/reconcile.py",
        'if record.status == "running" or _is_unexplained(record):',
        "if _is_unexplained(record):",
    ),
    "no room is kept for a record": Breakage(
        "a trainer that fills the disk leaves no room for the record",
        "training/records/spare_room.py",
        "(output / SPARE).unlink(missing_ok=True)",
        "(output / SPARE).exists()",
    ),
    "a claim is not looked at before the record": Breakage(
        "a record is written whether or not the scene is still this run's",
        "training/execution/attempt.py",
        "    claim.check()\n    give_room",
        "    give_room",
    ),
    "a process of an earlier boot lives": Breakage(
        "a process is told by its number and its start since boot alone",
        "training/system/processes.py",
        "same_boot = self.is_of_this_host() and self.boot == boot_id()",
        "same_boot = self.is_of_this_host()",
    ),
    "a record that can't be read is none": Breakage(
        "a record that can't be read passes for none",
        "training/records/record.py",
        "    except (OSError, ValueError) as error:\n        raise RecordError(",
        "    except (OSError, ValueError):\n        return None\n        raise RecordError(",
    ),
    "a newer record is read as one of ours": Breakage(
        "the version of a record is not looked at",
        "training/records/record.py",
        "if isinstance(version, int) and version > newest:",
        "if isinstance(version, str) and version > newest:",
    ),
    "plans write": Breakage(
        "planning creates folders",
        "training/plan/make_plan.py",
        "    trained = _training_record(plan, variant, scene)\n",
        "    plan.roots.state_root.mkdir(parents=True, exist_ok=True)\n"
        "    trained = _training_record(plan, variant, scene)\n",
    ),
    "what was planned before is skipped": Breakage(
        "a scene that an earlier plan had counts as begun",
        "training/plan/scene_decision.py",
        'decided: tuple[Action, str] = ("run", "new")',
        'decided = ("skip" if any(plan.cancelled.parent.glob("*.json")) else "run", "new")',
    ),
    "the launcher writes no report": Breakage(
        "the launcher does not summarise what it has trained",
        "training/run.py",
        "        stop = local.run_plan(plan, display)\n    write_summary(plan)\n",
        "        stop = local.run_plan(plan, display)\n",
    ),
    "the summary writes no report": Breakage(
        "the task that summarises an experiment writes no report",
        "flows/runner/tasks.py",
        "        return str(write_report_of(plan))\n",
        '        return ""\n',
    ),
    "the queue is not looked at": Breakage(
        "array jobs that have scenes already are overlooked",
        "training/jobs/submit.py",
        'arrays = jobs_by_scene(job for job in jobs if job.stage == "array")',
        'arrays = jobs_by_scene(job for job in jobs if job.stage == "none")',
    ),
    "a job that has a scene is overlooked": Breakage(
        "a scene that a job of the experiment has is not held for it",
        "training/jobs/current_plan.py",
        'if scene.action == "skip" or job is None:',
        'if scene.action in {"skip", "run", "held"} or job is None:',
    ),
    "a claim replaces what it does not see": Breakage(
        "a claim's file replaces one of the same name",
        "training/records/claim.py",
        "os.link(temporary, path)",
        "os.replace(temporary, path)",
    ),
    "limits are measured by the wall clock": Breakage(
        "a time limit follows the clock when that is set",
        "training/execution/trainer_process.py",
        "import subprocess\nimport time\n",
        "import subprocess\nimport time as clock\nfrom types import SimpleNamespace\n"
        "time = SimpleNamespace(monotonic=clock.time)\n",
    ),
    "an attempt may end before it began": Breakage(
        "the end of an attempt is what the clock says",
        "training/records/record.py",
        "end = max(now(), last.start)",
        "end = now()",
    ),
    "certificates are valid from now on": Breakage(
        "a node whose clock is behind refuses a flow's certificate",
        "flows/adapters/dask_adapter.py",
        "builder.not_valid_before(moment - CLOCKS_DIFFER)",
        "builder.not_valid_before(moment)",
    ),
    "a scene is not started without its plan's file": Breakage(
        "a scene is not started when the plan's file is gone",
        "training/execution/attempt.py",
        "    try:\n        gpu = plan.environment",
        "    if not any(plan.cancelled.parent.glob('*.json')):\n"
        "        return _failed(plan, Cause.CONFIG, 'no plan')\n"
        "    try:\n        gpu = plan.environment",
    ),
    "a plan that is gone is no failure": Breakage(
        "a job that can't read its plan ends well",
        "training/jobs/array_task.py",
        "        say(str(error))\n        return FAILED",
        "        say(str(error))\n        return DONE",
    ),
    "a flow on Slurm needs the plan that it wrote": Breakage(
        "a plan that is gone is not written again for jobs to come",
        "flows/slurm/cluster.py",
        "        write_lost_files(self._plan)\n",
        "",
    ),
    "a run without its server has failed": Breakage(
        "a flow whose run is gone from the server has failed",
        "flows/flow.py",
        "    except (ObjectNotFound, httpx.HTTPError) as error:",
        "    except StopIteration as error:",
    ),
    "a silent server is asked for ever": Breakage(
        "a server that stays silent is not given up",
        "flows/flow.py",
        "        give_up_if_silent(_flow_run())\n",
        "",
    ),
    "a password is not tried": Breakage(
        "a password is not tried before a run",
        "flows/server/external_api.py",
        "    check_credentials(url, settings)\n    for warning",
        "    for warning",
    ),
}
"""By the name that markers use."""
