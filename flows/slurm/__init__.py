"""Flows whose scenes run in Slurm jobs, each with one Dask worker.

In the flow's process: `runners` puts together a Dask `cluster`, a `job_pool` that submits and
replaces jobs as its `pool_state` decides, and `job_dispatch`, which runs each task in a job.
`preflight` and `node_check` find faults before the first GPU job. In processes of their own:
`dask_worker` and `probe` on compute nodes, and `job_guard`, which ends the jobs of a flow that is
gone. `connection` is how they find and trust each other.

May use `flows.runner`, `flows.adapters` and all of `training`. Start reading with `runners`.
"""
