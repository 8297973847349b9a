"""A trainer that a starter has forked is what a fresh interpreter would run, or that runs it."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
from warm_start_lab import imported, library, log_of, run

from training.execution.run_scene import run_scene
from training.records.record import read_record
from training.system.stop_request import StopRequest

PROBE = '''
"""What a script can see of its process, and ways to end."""
import atexit, gc, json, os, pathlib, resource, signal, subprocess, sys, threading, time, warnings

out = pathlib.Path(os.environ["TS_OUT"])
(out / "is_warm").write_text(str(sys._getframe().f_back is not None))
what = sys.argv[1]
atexit.register(print, "at exit")
VARYING = ("TS_OUT", "PYTEST_CURRENT_TEST")


class Last:
    def __del__(self):
        print("deleted at last")


last = Last()


def facts():
    yield sys.argv, sys.orig_argv, sys.path, sys.flags, sys.executable, sys.prefix
    yield sorted(globals()), __file__, __name__, __spec__, __package__, type(__loader__), __doc__
    yield sys.modules["__main__"].__dict__ is globals(), sys.warnoptions, warnings.filters[:3]
    yield [f"{key}={value}" for key, value in os.environ.items() if key not in VARYING]
    yield subprocess.run(["env"], capture_output=True).stdout.count(b"\\n") == len(os.environ)
    yield os.getpid() == os.getpgid(0) == os.getsid(0), os.getcwd(), os.umask(0o22), os.nice(0)
    yield sorted(os.listdir("/proc/self/fd"))[:3], len(os.listdir("/proc/self/fd")) < 5
    yield pathlib.Path("/proc/self/cmdline").read_text().split("\\0")
    environ = pathlib.Path("/proc/self/environ").read_text().split("\\0")
    yield [each for each in environ if each.partition("=")[0] not in VARYING]
    yield [name for name in sys.modules if name.startswith("training")]
    yield os.readlink("/proc/self/fd/0"), pathlib.Path("/proc/self/comm").read_text()
    yield {each.name: str(signal.getsignal(each)) for each in signal.Signals}
    yield signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.sigpending()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        yield stream.name, stream.mode, stream.encoding, stream.errors, stream.line_buffering
        yield stream.fileno(), str(stream.buffer)
        yield stream is getattr(sys, f"__{stream.name[1:-1]}__")
    yield [resource.getrlimit(each) for each in range(16)], threading.active_count()
    main = threading.main_thread()
    yield threading.current_thread() is main, main.native_id == os.getpid()
    yield gc.isenabled(), gc.get_threshold()
    yield sys.getrecursionlimit(), sys.gettrace(), sys.excepthook is sys.__excepthook__
    yield [str(each).split(" at ")[0] for each in sys.meta_path], len(sys.path_hooks)
    yield pathlib.Path(f"/proc/{os.getppid()}/cmdline").read_text().split("\\0")[2]


def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)


def fail():
    try:
        {}["missing"]
    except KeyError as error:
        raise RuntimeError("worse") from error


def fail_in_hook(*_):
    raise ValueError("in the hook")


def late():
    threading.main_thread().join()
    print("late")


if what == "facts":
    for each in facts():
        print(each)
if what == "exit":
    sys.exit(json.loads(sys.argv[2]))
if what == "stdin":
    print(repr(sys.stdin.read()))
    input()
if what == "interrupted":
    interrupted()
if what == "fail":
    fail()
if what == "syntax":
    exec("a b")
if what == "hook":
    sys.excepthook = lambda kind, error, trace: print(kind, error, trace.tb_lineno)
    fail()
if what == "bad_hook":
    sys.excepthook = fail_in_hook
    fail()
if what == "os_exit":
    print("lost")
    os._exit(5)
if what == "signal":
    print("lost")
    os.kill(os.getpid(), int(sys.argv[2]))
if what == "thread":
    threading.Thread(target=late).start()
if what == "fork":
    if os.fork():
        os.wait()
        print("the parent")
    else:
        print("the child", flush=True)
if what == "environment":
    os.environ["MINE"] = "yes"
    del os.environ["TS_SCENE_NAME"]
    subprocess.run("echo $MINE ${TS_SCENE_NAME-gone}", shell=True)
    os.chdir("/")
if what == "flood":
    for number in range(2000):
        print("out", number)
        if number % 500 == 0:
            print("err", number, file=sys.stderr)
if what == "hang":
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    (out / "ready").touch()
    while not (out / "go").exists():
        time.sleep(0.02)
print("end", end="")
'''
ENDS = [
    "facts",
    "exit null",
    "exit 3",
    "exit 263",
    'exit "why"',
    "exit [1]",
    "stdin",
    "interrupted",
    "fail",
    "syntax",
    "hook",
    "bad_hook",
    "os_exit",
    "signal 9",
    "signal 15",
    "thread",
    "fork",
    "environment",
    "flood",
]


def end_of(plan):
    (attempt,) = read_record(plan.output).attempts
    message = attempt.message.replace(str(plan.output), "OUT")
    return attempt.cause, attempt.exit_status, message, log_of(plan)


def is_warm(plan):
    return (plan.output / "is_warm").read_text() == "True"


def starter_of(supervisor):
    (found,) = [
        each
        for each in psutil.Process(supervisor).children()
        if "starter.py" in str(each.cmdline())
    ]
    return found


@pytest.fixture(scope="module")
def probe(folder, scene, threads):
    """The script whose imports have been learnt."""
    script = folder / "probe.py"
    script.write_text(PROBE)
    run(threads[1], scene(script, "learn"), scene(script, "end", TS_FIRST="not of the others"))
    return script


@pytest.mark.parametrize("what", ENDS)
def test_a_warm_start_is_what_a_cold_one_is(what, probe, scene, threads):
    """Same exit status, cause and message, and the same log byte for byte."""
    word, _, argument = what.partition(" ")
    cold = scene(probe, word, argument, warm_start=False)
    warm = scene(probe, word, argument)
    pairs = zip(threads, (cold, warm), strict=True)
    outcomes = [thread.submit(run_scene, plan).result() for thread, plan in pairs]
    assert [outcome.notice for outcome in outcomes] == ["", ""]
    assert end_of(warm) == end_of(cold)
    assert (is_warm(cold), is_warm(warm)) == (False, True)


def test_a_starter_that_is_killed_costs_no_scene(probe, scene, threads, eventually):
    """Neither the one that runs, which goes on, nor the next one."""
    running, after = scene(probe, "hang"), scene(probe, "fork")
    future = threads[1].submit(run_scene, running)
    eventually((running.output / "ready").exists, "the trainer")
    starter_of(read_record(running.output).attempts[0].pid).kill()
    (running.output / "go").touch()
    assert future.result(timeout=60).status == "done"
    assert [outcome.status for outcome in run(threads[1], after)] == ["done"]
    assert is_warm(running)


def test_a_starter_ends_with_its_supervisor(probe, scene, thread, eventually, alive):
    """And so do the trainer and what it has started, by kill -9 of the supervisor."""
    plan = scene(probe, "hang")
    future = thread.submit(run_scene, plan)
    eventually((plan.output / "ready").exists, "the trainer")
    supervisor = read_record(plan.output).attempts[0].pid
    family = [each.pid for each in psutil.Process(supervisor).children(recursive=True)]
    assert len(family) == 3
    os.kill(supervisor, signal.SIGKILL)
    assert future.result(timeout=60).cause == "worker_lost"
    eventually(lambda: not any(map(alive, family)), "their end")


def test_a_scene_is_stopped_while_its_libraries_are_imported(tmp_path, scene, thread, eventually):
    """As a fresh interpreter is, by SIGTERM; nothing of it starts later."""
    libraries = library(
        tmp_path, "slow", "if os.getenv('TS_SLOW'):\n    import time; time.sleep(60)"
    )
    script = tmp_path / "script.py"
    script.write_text("import slow\nprint('started')\n")
    run(thread, scene(script, state=tmp_path, **libraries))
    stop, plan = StopRequest(), scene(script, state=tmp_path, TS_SLOW="1", **libraries)
    future = thread.submit(run_scene, plan, stop=stop)
    eventually(lambda: len(imported(tmp_path)) == 2, "the import")
    stop.request()
    assert future.result(timeout=60).status == "cancelled"
    assert read_record(plan.output).attempts[0].exit_status == -signal.SIGTERM
    assert log_of(plan) == b""
