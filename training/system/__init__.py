"""The machine: processes, signals, GPUs, files, folders, logs, console, exit statuses.

Knows Linux and the environment variables of Slurm's jobs, but no scene's record and no plan. May
use the standard library, pydantic, psutil, and `faults`, `roots` and `scene` of `preprocess`. Open
`processes.py` first; ask `presence.py` whether a file is there, where a wrong answer would lose
something.
"""
