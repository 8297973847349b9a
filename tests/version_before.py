"""Files as the version before wrote them, to the letter but for folders and times."""

from __future__ import annotations

import json
from pathlib import Path

FINGERPRINT = "8ca281ac324ef1ad50edc2fb9f31f9ca"
PLAN_NAME = "exp-20260729T215616.711455"
RECORD = """{
 "schema_version": 1,
 "scene": "a_1",
 "exp_name": "exp",
 "fingerprint": "8ca281ac324ef1ad50edc2fb9f31f9ca",
 "status": "done",
 "attempts": [
  {
   "start": "2026-07-29T21:56:17.117147Z",
   "host": "n1",
   "pid": 7028,
   "end": "2026-07-29T21:56:17.220022Z",
   "exit_status": 0,
   "cause": "ok",
   "message": "",
   "slurm_job_id": ""
  }
 ],
 "metrics": {
  "psnr": 20.0,
  "before": {
   "psnr": 15.0
  }
 }
}
"""
PLAN = """{
 "plan_id": "exp-20260729T215616.711455",
 "created": "2026-07-29T21:56:16.711496Z",
 "exp_name": "exp",
 "part": "",
 "roots": {
  "results_root": "ROOT/results",
  "scene_data_root": "ROOT/scenes",
  "state_root": "ROOT/state"
 },
 "scenes": [
  {
   "name": "a_1",
   "exp_name": "exp",
   "scene": {
    "seq_name": "a_1",
    "cam_id": 28
   },
   "scene_file": "ROOT/registry/a_1.json",
   "action": "run",
   "reason": "new",
   "command": [
    "/opt/python",
    "/old/checkout/tests/stand_in_trainer.py",
    "shared.scene_name=a_1",
    "shared.exp_name=exp",
    "seed=1"
   ],
   "environment": {
    "TS_RESULTS_ROOT": "ROOT/results",
    "TS_SCENE_DATA_ROOT": "ROOT/scenes",
    "TS_SCENE_FILE": "ROOT/registry/a_1.json"
   },
   "output": "ROOT/results/a_1/exp",
   "fingerprint": "8ca281ac324ef1ad50edc2fb9f31f9ca",
   "promises": ["metrics.json"],
   "time_limit_s": 86400,
   "kill_grace_s": 20,
   "cancelled": "ROOT/state/plans/exp-20260729T215616.711455.cancelled",
   "retrain_done_before": null
  }
 ],
 "workers": 1,
 "gpus": [],
 "max_retries": 2,
 "max_failures": 0,
 "aggregate": {
  "command": [],
  "environment": {
   "TS_RESULTS_ROOT": "ROOT/results",
   "TS_SCENE_DATA_ROOT": "ROOT/scenes",
   "TS_PLAN_FILE": "ROOT/state/plans/exp-20260729T215616.711455.json"
  },
  "log": "ROOT/results/_experiments/exp/aggregate.log",
  "job_name": "exp_aggregate",
  "time_limit_s": 3600
 },
 "slurm": null,
 "warnings": []
}
"""


def write_record(output: Path, *, status: str = "done", cause: str = "ok") -> None:
    """Write the record of the version before into an output folder."""
    output.mkdir(parents=True, exist_ok=True)
    text = RECORD.replace('"done"', json.dumps(status)).replace('"ok"', json.dumps(cause))
    (output / "run.json").write_text(text)


def write_plan(root: Path) -> Path:
    """Write the plan of the version before into the state root of a lab; return its file."""
    file = root / "state" / "plans" / f"{PLAN_NAME}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(PLAN.replace("ROOT", str(root)))
    return file
