"""A trainer of a few lines with the run modes of the project's own, for loops in seconds.

It does nothing but note its start in `<results>/order.txt` and write what its mode promises, from
what the stage before has written. A file `<results>/<do>_<run>` makes it `fail` or `hang`; `<run>`
is the scene's experiment and name, as in `fail_exp_refined_x`, or `refiner`, or `aggregate`.
"""

import json
import os
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))
from training.configuration.run_modes import RUN_MODES  # noqa: E402

PSNR = {"none": 20.0, "rendered": 20.5, "refined": 21.0, "captured": 24.0}
given = dict(item.split("=", 1) for item in sys.argv[1:])
mode = RUN_MODES[given.get("run_mode", "train")]
results, exp_name = Path(os.environ["TS_RESULTS_ROOT"]), given["shared.exp_name"]
experiment = results / "_experiments" / exp_name
scene = given.get("shared.scene_name", "")
run = {"refiner_train": "refiner", "difix_data_generation_aggregate": "aggregate"}.get(
    mode.name, f"{exp_name}_{mode.name.removeprefix('difix_data_generation_')}_{scene}"
)
output = (results / scene / exp_name if scene else experiment) / mode.output_subdir
with (results / "order.txt").open("a", encoding="utf-8") as stream:
    stream.write(f"{run}\n")
if (results / f"fail_{run}").exists():
    sys.exit("told to fail")
while (results / f"hang_{run}").exists():
    time.sleep(0.02)


def need(path: Path) -> None:
    """End as for a wrong configuration when something of an earlier stage is not there."""
    if not path.exists():
        print(f"{path} is not there", file=sys.stderr)
        sys.exit(2)


metrics = {}
if run == "refiner":
    metrics = {"tuned": time.time()}
    need(experiment / "difix_data" / "difix" / "data.json")
elif run == "aggregate":
    plan = json.loads(Path(os.environ["TS_PLAN_FILE"]).read_text(encoding="utf-8"))
    for each in plan["scenes"]:
        need(results / each["name"] / exp_name / "difix_data" / "shard.json")
elif mode.output_subdir:
    need(output.parent / "checkpoints" / "last.pt")
else:
    views = "train.nv_generation.trn_nv_gen"
    source = given.get(f"{views}.source", "")
    if source == "refined":
        need(Path(given["difix.model_id"].strip("'")) / "model.pt")
    psnr = PSNR[source if given[f"{views}.num_cameras"] != "0" else "none"]
    metrics = {"psnr": psnr, "psnr_foreground": psnr - 4, "before": {"psnr": 15.0}}
for glob in mode.expected_outputs:
    path = output / glob.replace("*", "0")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(metrics) if metrics else "{}", encoding="utf-8")
