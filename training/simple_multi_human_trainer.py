"""Train one scene: the model of its people, from its source camera.

Or, with another run_mode:

difix_data_generation_generate    render the scene's shard of the image refiner's training set;
difix_data_generation_aggregate   merge the shards of all scenes into that training set.

    python training/simple_multi_human_trainer.py shared.scene_name=NAME shared.exp_name=EXP ...

Keys are those of training/configs/train.yaml. Exit status: 0 done, everything written; 1 failed;
2 something in the configuration or the scene is wrong; 143 stopped by SIGTERM, what was done is
kept and the same command goes on from there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
if str(CHECKOUT) not in sys.path:  # started by its path, from any folder
    sys.path.insert(0, str(CHECKOUT))

from preprocess.faults import FaultsError  # noqa: E402
from preprocess.scene_data import SceneDataError  # noqa: E402
from training.system.exit_status import DONE, FAILED, USAGE  # noqa: E402
from training.trainer.config.compose import load_config  # noqa: E402
from training.trainer.config.schema import Config  # noqa: E402
from training.trainer.termination import TERMINATED, SignalRequests, Terminated, TrainingError  # noqa: E402  # noqa: E402


def main(arguments: Sequence[str]) -> int:
    """Do as the arguments say; returns the exit status."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return DONE
    requests = SignalRequests()
    requests.install_handlers()
    what = "reading the configuration"
    try:
        config = load_config(arguments)
        what, run = RUN_MODES[config.run_mode]
        run(config, requests)
    except FaultsError as error:
        print(error, file=sys.stderr)
        return USAGE
    except (OSError, SceneDataError, TrainingError) as error:
        print(f"{what} failed: {error}", file=sys.stderr)
        return FAILED
    except Terminated:
        return TERMINATED
    return DONE


def _train(config: Config, requests: SignalRequests) -> None:
    from training.trainer.input_checks import check_inputs

    inputs = check_inputs(config)
    _use_cores()
    from training.trainer.gaussians.ply_export import export_people
    from training.trainer.loop import train
    from training.trainer.setup import prepare_run

    run = prepare_run(config, inputs, requests)
    try:
        train(run)
        export_people(run.output, run.model)
    finally:
        run.reports.close()


def _generate(config: Config, requests: SignalRequests) -> None:
    from training.trainer.difix.generation_checks import check_generation

    inputs = check_generation(config)
    _use_cores()
    from training.trainer.difix.generate import generate

    generate(config, inputs, requests)


def _aggregate(config: Config, requests: SignalRequests) -> None:
    from training.trainer.difix.merge_shards import aggregate

    aggregate(config, requests)


def _use_cores() -> None:
    import torch

    torch.set_num_threads(int(os.environ.get("SLURM_CPUS_PER_TASK", "1")))


RUN_MODES: dict[str, tuple[str, Callable[[Config, SignalRequests], None]]] = {
    "train": ("training", _train),
    "difix_data_generation_generate": ("generating DiFix data", _generate),
    "difix_data_generation_aggregate": ("aggregating DiFix data", _aggregate),
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
