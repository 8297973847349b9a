"""What a scene's output folder says: run record, claim, outcome, expected outputs, retry policy.

The record (`run.json`) is the only truth about a scene; the claim (`.claim/`) says which process
may write it. Nothing here starts a process or knows a plan, and Slurm is asked one thing alone:
whether the job of a silent holder has ended. `training.slurm` and `training.system` may be used.
Open `record.py` first, then `claim.py`; `scene_state.py` joins the two, and `retry_policy.py` says
what is started again.
"""
