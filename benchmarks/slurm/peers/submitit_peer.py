"""Run scenes by submitit: FOLDER SCENES PARALLELISM. As in its documentation's "Job arrays"."""

from __future__ import annotations

import sys
from pathlib import Path

import submitit  # type: ignore[import-not-found,unused-ignore]
from scene import run_scene  # type: ignore[import-not-found,unused-ignore]

if __name__ == "__main__":
    folder, scenes, parallelism = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    executor = submitit.AutoExecutor(folder=Path(folder, "submitit"))
    executor.update_parameters(
        timeout_min=5,
        slurm_partition="gpu",
        slurm_gres="gpu:1",
        slurm_array_parallelism=parallelism,
        slurm_setup=['date +%s.%N >> "$STAMPS/jobs"'],
    )
    for job in executor.map_array(run_scene, range(scenes)):
        job.result()
