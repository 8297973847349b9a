"""In place of the flow in a controller's job: each start does what the next line of a file says."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from training.records.controller_record import read_controller

plan_file = Path(sys.argv[1])
record = read_controller(plan_file)
do = plan_file.with_suffix(".do").read_text().split()[len(record.starts) - 1]
plan_file.with_suffix(".env").write_text(json.dumps(dict(os.environ)))
plan_file.with_suffix(".pid").write_text(str(os.getpid()))
if do == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if do == "waits":
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(130)
sys.exit(int(do))
