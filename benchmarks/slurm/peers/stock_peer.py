"""Run scenes by prefect-dask's DaskTaskRunner on Slurm: FOLDER SCENES PARALLELISM."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from scene import run_scene  # type: ignore[import-not-found,unused-ignore]

sys.path.append(str(Path(__file__).resolve().parents[3]))


from flows.server.managed import STOP_TIMEOUT_S, prefect_api


def main(folder: Path, scenes: int, parallelism: int) -> None:
    """Run a flow on a server of its own, as our flow does."""
    with prefect_api(folder, verbose=False) as api:
        from prefect import flow, task
        from prefect_dask.task_runners import DaskTaskRunner

        from flows.adapters.prefect_adapter import send_buffered

        api.wait_until_ready()
        # Its workers report to the API themselves, with the password in their environment.
        runner: Any = DaskTaskRunner(
            cluster_class="dask_jobqueue.SLURMCluster",
            cluster_kwargs={
                "cores": 1,
                "memory": "500MB",
                "processes": 1,
                "n_workers": parallelism,
                "nanny": False,
                "interface": "lo",
                "queue": "gpu",
                "job_script_prologue": ['date +%s.%N >> "$STAMPS/jobs"'],
                "job_extra_directives": ["--gres=gpu:1", "--output=/dev/null", "--error=/dev/null"],
            },
        )
        scene: Any = task(run_scene)

        @flow(task_runner=runner)
        def many() -> None:
            for future in scene.map(range(scenes)):
                future.result()

        many()
        send_buffered(STOP_TIMEOUT_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
