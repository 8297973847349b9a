"""From a person's options to the frozen plan of what will run; creates and starts nothing.

`options.py` defines every flag once, `make_plan.py` checks everything and makes the plan of
`model.py`, `scene_decision.py` says per scene whether it runs. Uses `configuration`, `snapshots`,
`records`, `slurm`, `preprocess`, and of the trainer its schema and checks. Open `make_plan.py`
first.
"""
