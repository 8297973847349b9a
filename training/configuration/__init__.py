"""The trainer's configuration as the launcher sees it, before anything starts.

Composes Hydra overrides, resolves interpolations, and answers what a result depends on: the run
modes of the project's own trainer (`run_modes.py`), the fingerprint of a configuration, the version
of the code. Uses `training.records`, `training.system`, and `faults` and `roots` of `preprocess`;
the trainer imports `overrides`, `interpolations` and `run_modes`. Hydra and OmegaConf are imported
only where a file needs them, Hydra only by `hydra_adapter.py`. Open `overrides.py` first (the
project's own trainer), then `applications.py` (other Hydra applications) and `fingerprint.py`.
"""
