"""What knows both a plan and Slurm: submission, what a job runs, and records reconciled with Slurm.

`submit.py` submits an experiment (`--submit`), with the command lines of `sbatch_commands.py`;
`job_entry.py` is the beginning of every job, and `array_task.py` and `aggregate_task.py` are what
it turns into. `reconcile.py` asks Slurm how jobs ended; `status.py` says how an experiment stands,
`flow_claim.py` which flow has it. May use every folder of `training` but `cli`; knows nothing of
Prefect and Dask. Open `submit.py` first, then `array_task.py`.
"""
