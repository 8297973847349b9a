"""Flows whose scenes run in Slurm jobs, each with one Dask worker.

In the flow's process: `worker_jobs` puts together a Dask `cluster` and a `job_pool` that submits
and replaces jobs as its `pool_state` decides, without Prefect; `runners` has Prefect's task runs
use them, each in a job (`job_dispatch`). `preflight` and `node_check` find faults before the first
GPU job; `probe_memory` knows where one has passed lately, `avoided_nodes` which nodes jobs keep
off. `adoption` takes over what a dead flow has left. In processes of their own: `dask_worker` and
`probe` on compute nodes, and `job_guard`, which ends the jobs of a flow that is gone. `connection`
is how they find and trust each other.

May use `flows.runner`, `flows.adapters` and all of `training`. Start reading with `worker_jobs`.
"""
