"""Prefect, kept thin: the flow that trains scenes, its command line, and what both stand on.

May use `training` and `preprocess`, which know nothing of Prefect or Dask; `deployments` uses this
package. Start with `flow` and `plan_tasks` (the tasks of each of its plans), then `train` (the
command line) and `runner` (how a task reaches a Dask worker); `slurm` has the jobs of a cluster,
`controller` the flow in a job of its own, `server` Prefect's API, `run_page` and `notifications`
what people are shown and sent, `adapters` the internals of Prefect and Dask.
"""
