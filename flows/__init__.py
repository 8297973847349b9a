"""Prefect, kept thin: the flow that trains scenes, its command line, and what both stand on.

May use `training` and `preprocess`, which know nothing of Prefect or Dask; `deployments` uses this
package. Start with `flow`, then `train` (the command line) and `runner` (how a task reaches a Dask
worker); `slurm` has the jobs of a cluster, `server` Prefect's API, `adapters` the internals of
Prefect and Dask.
"""
