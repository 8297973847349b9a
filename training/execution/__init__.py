"""Run one scene, or all scenes of a plan on this machine, and record how each attempt ended.

`run_scene` (in a launcher's thread or a Dask worker) hands the scene to a supervisor process, which
claims the output folder, runs the trainer, finds the cause of its end and writes the record. May
use `configuration`, `display`, `plan`, `records`, `snapshots`, `system` and, to compile it ahead,
the trainer's rasterizer; knows nothing of Slurm's jobs, Prefect or Dask. Open `run_scene.py` first,
then `attempt.py`; `local.py` runs a whole plan.
"""
