"""A trainer that sleeps for `seconds=`, for slurm_makespan.py."""

import os
import sys
import time
from pathlib import Path

given = dict(argument.split("=", 1) for argument in sys.argv[1:])
time.sleep(float(given["seconds"]))
with Path(os.environ["STAMPS"], "scenes").open("a", encoding="utf-8") as stream:
    stream.write(f"{time.time()}\n")
