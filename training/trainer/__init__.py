"""The trainer: fits a Gaussian-splat model to one multi-human scene, and makes DiFix data.

Start reading in `loop.py` (training from top to bottom), then `setup.py` (how a run is put
together); `training/simple_multi_human_trainer.py` is the command. Run modes other than `train` are
in `difix/`. Modules that the launcher may import, too, import no torch: `config/`, `input_checks`,
`scene_files`, `cameras/camera_ids`, `gaussians/gsplat_extension`, `output_files` and, in `difix/`,
all but `generate`, `pipeline`, `trained_model`; in `refiner/`, `weights`, `tuned_on` and
`pair_files`.

**Contract with the launcher.** The launcher starts the trainer as a process and relies on its
command line, its exit status, its progress lines and the files that it writes; any other Hydra
script can stand in its place (`--train-script`). With `--prepare-gpu` it compiles what scenes need
on a GPU. Before anything is queued, the launcher checks the configuration with the modules above
that import no torch. What the trainer takes from the launcher's side, and import-linter lets it
take no more:

- `training.configuration`: composing train.yaml with overrides (`overrides.compose`, `flat`,
  `leaves`, `select`), resolving its interpolations (`interpolations.resolve`), writing it down
  (`configuration_file`), and the table of run modes;
- `training.system`: exit statuses, atomic writes, what is built once, how progress lines are
  written, and whether the output is a terminal;
- the environment variables that train.yaml names; `TS_STATE_ROOT`, below which compiled code is
  kept; and `TS_PLAN_FILE`, the plan's file, of which `difix/shard_collection.py` reads `exp_name`
  and `scenes[].name`;
- `preprocess`: scenes, their data and the body model.
"""
