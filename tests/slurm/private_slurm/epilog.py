"""Slurm's epilog where there are no cgroups: ends what left its job's process groups."""

from __future__ import annotations

import os
import signal

from private_slurm.processes import end, of_jobs


def main() -> None:
    node, job_id = os.environ["SLURMD_NODENAME"], os.environ["SLURM_JOB_ID"]
    end(lambda: of_jobs([node], job_id), signal.SIGKILL, deadline_s=5)


if __name__ == "__main__":
    main()
