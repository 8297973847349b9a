"""A trainer of a few lines: does what its key=value arguments say, as any trainer might.

The launcher under test can not distinguish it from a real one.
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

given = dict(item.split("=", 1) for item in sys.argv[1:])
if given.get("run_mode") == "difix_data_generation_aggregate":  # one run after all scenes
    plan = json.loads(Path(os.environ["TS_PLAN_FILE"]).read_text(encoding="utf-8"))
    merged = Path(os.environ["TS_RESULTS_ROOT"]) / "_experiments" / given["shared.exp_name"]
    with (merged / "merged.jsonl").open("a", encoding="utf-8") as stream:
        line = {"scenes": [each["name"] for each in plan["scenes"]], "arguments": sys.argv[1:]}
        stream.write(json.dumps(line) + "\n")
    time.sleep(0.5)  # long enough to meet another one
    sys.exit(1 if given.get("do") == "fail_aggregate" else 0)
output = (
    Path(os.environ["TS_RESULTS_ROOT"]) / os.environ["TS_SCENE_NAME"] / os.environ["TS_EXP_NAME"]
)
scene = json.loads(Path(os.environ["TS_SCENE_FILE"]).read_text(encoding="utf-8"))
do = scene.get("do") or given.get("do", "ok")
if ("only" in given and given["only"] not in scene["seq_name"]) or (output / "healed").exists():
    do = "ok"


def note(name: str, text: str) -> None:
    """Report something to the test, in a file of its own beside the outputs."""
    with (output / name).open("a", encoding="utf-8") as stream:
        stream.write(text + "\n")


def sleep_for_ever() -> None:
    """Until killed; the deadline is for a test that forgot to."""
    time.sleep(120)


note("environment.json", json.dumps(dict(os.environ)))
note("arguments.jsonl", json.dumps(sys.argv[1:]))
note("starts.txt", f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')}")
print("TS_PROGRESS " + json.dumps({"epoch": 1, "epochs": 2, "loss": 0.5}), flush=True)
print(f"training {scene['seq_name']} from camera {scene['cam_id']}", flush=True)
if do == "nothing":
    sys.exit(0)
if do == "fail":
    sys.exit("the loss is not a number")
if do == "half":  # leaves its output, fails, and the next time writes nothing
    if (output / "failed.txt").exists():
        sys.exit(0)
    note("failed.txt", "")
    (output / "metrics.json").write_text("{}", encoding="utf-8")
    sys.exit(1)
if do == "letters":
    sys.stdout.buffer.write("→ ✓ süß\n".encode())
if do == "config":
    print("unknown strategy", file=sys.stderr)
    sys.exit(2)
if do == "memory":
    raise MemoryError
first = len((output / "starts.txt").read_text(encoding="utf-8").splitlines()) == 1
if do == "kill_supervisor" and first:
    os.kill(os.getppid(), signal.SIGKILL)
    sleep_for_ever()
if do == "lose_claim" and first:  # as if the supervisor had been frozen for long
    os.kill(os.getppid(), signal.SIGSTOP)
    claim = Path(os.environ["TS_CLAIM"])
    holder = json.loads(claim.read_text(encoding="utf-8"))
    for name in ("process", "launcher"):
        holder[name]["host"] = "elsewhere"
    claim.with_name("000009.json").write_text(json.dumps(holder), encoding="utf-8")
    os.kill(os.getppid(), signal.SIGCONT)
    sleep_for_ever()
if do == "eat":  # until the kernel kills it
    eaten = []
    while True:
        eaten.append(bytearray(2**24))
        eaten[-1][::4096] = bytes(range(256)) * 16  # each page is touched
if do == "fill":  # the disk that its outputs are on
    with (output / "too_large.bin").open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(2**16)):
                pass
        except OSError as error:
            sys.exit(f"the checkpoint can't be written: {error}")
if do == "crowded":  # the first runs out of memory when there is another, later ones if there is
    crowd = output.parent.parent / "_crowd"
    crowd.mkdir(exist_ok=True)
    present = crowd / f"{os.getpid()}.present"
    present.touch()
    atexit.register(present.unlink)
    ran_out = crowd / "ran_out"
    while not ran_out.exists() and len(list(crowd.glob("*.present"))) < 2:
        time.sleep(0.02)
    if len(list(crowd.glob("*.present"))) > 1:
        ran_out.touch()
        sys.exit("MemoryError")
if do == "read_only":  # as its outputs are for all that open them from now on
    subprocess.run(["mount", "--bind", output, output], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", output], check=True)
    sys.exit("the checkpoint can't be written: read-only file system")
if do == "delete":
    shutil.rmtree(output)
    sys.exit(0)
if do == "flood":
    for _ in range(200):
        print("x" * 2**20)
if do == "fork":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    outlives = (  # it notes that it has seen the record of a trainer that is done
        "import pathlib, sys, time\nrecord = pathlib.Path(sys.argv[1], 'run.json')\n"
        "for _ in range(60000):\n    if '\"done\"' in record.read_text():\n"
        "        record.with_name('outlived.txt').touch()\n    time.sleep(0.002)"
    )
    own = subprocess.Popen([sys.executable, "-c", outlives, output], start_new_session=True)
    note("children.txt", f"{child.pid} {own.pid}")
if do in {"ignore_term", "zero_on_term"}:
    handler = signal.SIG_IGN if do == "ignore_term" else lambda *_: sys.exit(0)
    signal.signal(signal.SIGTERM, handler)
    (output / "metrics.json").write_text('{"psnr": 1.0}', encoding="utf-8")
    note("ready.txt", "")
    sleep_for_ever()
if do == "save_on_term" and not (output / "checkpoints").exists():  # as one that takes a second

    def save(*_: object) -> None:
        time.sleep(1)
        (output / "checkpoints").mkdir()
        (output / "checkpoints" / "last.txt").write_text("half", encoding="utf-8")
        sys.exit(1)

    signal.signal(signal.SIGTERM, save)
    note("ready.txt", "")
    sleep_for_ever()
if do == "wait":
    note("ready.txt", "")
    while not (output / "go.txt").exists():
        time.sleep(0.02)
if do == "usr1":
    usr1 = []
    signal.signal(signal.SIGUSR1, lambda *_: usr1.append(note("usr1.txt", "")))
    note("ready.txt", "")
    while not usr1:
        time.sleep(0.02)
if do == "checkpoint_on_signals":

    def checkpoint(number: int, _: object) -> None:
        (output / "checkpoints").mkdir(exist_ok=True)
        (output / "checkpoints" / f"{signal.Signals(number).name}.txt").touch()
        if number == signal.SIGTERM:
            sys.exit(1)

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, checkpoint)
    note("ready.txt", "")
    sleep_for_ever()
if do == "hang":
    note("ready.txt", "")
    sleep_for_ever()
if do in {"truncated", "random"}:  # keeps two checkpoints; the last one is damaged
    checkpoints = output / "checkpoints"
    if checkpoints.exists():
        whole = [each for each in sorted(checkpoints.iterdir()) if each.read_bytes()[-3:] == b"end"]
        note("resumed.txt", whole[-1].name)
    else:
        checkpoints.mkdir()
        (checkpoints / "1").write_bytes(b"weights, end")
        (checkpoints / "2").write_bytes(b"weigh" if do == "truncated" else os.urandom(99) + b"?")
        sleep_for_ever()
if do == "resume":  # stops once, then goes on from what it left
    checkpoint = output / "checkpoints" / "last.txt"
    if not checkpoint.exists():
        checkpoint.parent.mkdir()
        checkpoint.write_text("half", encoding="utf-8")
        note("ready.txt", "")
        sleep_for_ever()
    note("resumed.txt", checkpoint.read_text(encoding="utf-8"))
(output / "metrics.json").write_text('{"psnr": 20.0, "before": {"psnr": 15.0}}', encoding="utf-8")
