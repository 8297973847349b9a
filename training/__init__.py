"""The launcher, its core (plan, records, execution, Slurm) and the trainer; no Prefect, no Dask.

Open `run.py` first, the launcher's command, then `plan/` (what will run) and `execution/` (how it
runs). May use `preprocess`; `flows` and `deployments` use this package. The order of the folders is
a contract of import-linter, see docs/architecture.md.
"""
