"""A scene that sleeps, and keeps a log of its own, which no record of the product touches.

It holds a lock for as long as its process lives: two of one scene at once are found by the kernel.
"""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

scene = os.environ["TS_SCENE_NAME"]
given = json.loads(Path(os.environ["TS_SCENE_FILE"]).read_text(encoding="utf-8"))
folder = Path(given["log_folder"])
output = Path(os.environ["TS_RESULTS_ROOT"]) / scene / os.environ["TS_EXP_NAME"]


def note(what: str) -> None:
    """Append a line to the log; lines this short are written whole."""
    with (folder / "log.jsonl").open("a", encoding="utf-8") as stream:
        line = {"what": what, "scene": scene, "pid": os.getpid(), "at": time.time()}
        stream.write(json.dumps(line) + "\n")


signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
lock = (folder / f"{scene}.lock").open("w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    note("doubled")
    sys.exit("another trainer of this scene is alive")
note("began")
time.sleep(given["seconds"])
(output / "metrics.json").write_text('{"psnr": 20.0}', encoding="utf-8")
note("ended")
