"""A client of Slurm that knows no plan: commands, their output, job states, scripts, times.

Nothing here knows a scene, an experiment or a record; what joins Slurm with those is
`training.jobs`. May use `training.system`, and `faults` and `roots` of `preprocess`; import-linter
keeps plans, records and jobs out. Open `client.py` first: it makes all calls of Slurm's commands.
`parsers.py` and `job_states.py` are pure. A site's script is read by `batch_script.py` (directives)
and `script_commands.py`, judged by `script_checks.py`, and gets its signals by `forwarding.py`.
"""
