"""From a person's options to the frozen plan of what will run; creates and starts nothing.

`options.py` defines every flag once, `launch.py` checks everything, `make_plan.py` makes the plan
of `model.py` (`slurm_model.py` for its jobs), and `scene_decision.py` says of each scene whether it
runs. `sweep.py` and `loop.py` have the settings of a sweep and the plans of a loop;
`experiments.py` finds and reads the plans that there are. Uses `configuration`, `snapshots`,
`records`, `slurm`, `preprocess`, and of the trainer its schema and checks. Open `make_plan.py`
first.
"""
