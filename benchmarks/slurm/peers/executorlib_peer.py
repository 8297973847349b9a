"""Run scenes by executorlib: FOLDER SCENES PARALLELISM. As in its "HPC Cluster Executors"."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from executorlib import SlurmClusterExecutor  # type: ignore[import-not-found,unused-ignore]
from scene import run_scene  # type: ignore[import-not-found,unused-ignore]

TEMPLATE = """\
#!/bin/bash
#SBATCH --output=time.out
#SBATCH --job-name={{job_name}}
#SBATCH --chdir={{working_directory}}
#SBATCH --partition={{partition}}
#SBATCH --gres=gpu:1
#SBATCH --time=5
#SBATCH --cpus-per-task={{cores}}
date +%s.%N >> "$STAMPS/jobs"
{{command}}
"""

if __name__ == "__main__":
    folder, scenes, parallelism = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    os.chdir(folder)
    with SlurmClusterExecutor(
        max_workers=parallelism,
        block_allocation=True,
        resource_dict={"submission_template": TEMPLATE, "partition": "gpu"},
    ) as executor:
        for future in [executor.submit(run_scene, number) for number in range(scenes)]:
            future.result()
