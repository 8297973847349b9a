"""Train one scene: fit the model of its people to the images of its source camera.

Or, with another run_mode:

difix_data_generation_generate    render the scene's shard of the image refiner's training set;
difix_data_generation_aggregate   merge the shards of all scenes into that training set;
refiner_train                     train a small image refiner on that set, for difix.model_id;
evaluate                          evaluate the trained model alone, on other cameras or frames.

    python training/simple_multi_human_trainer.py shared.scene_name=NAME shared.exp_name=EXP ...

Keys are those of training/configs/train.yaml. --cfg job prints the composed configuration instead
of running, like a Hydra application, and --resolve its interpolations' values. With --prepare-gpu
before the keys it only compiles what training on a GPU needs, once for all scenes: the launcher
does so before the first one.

Exit status: 0 done, everything is written; 1 failed; 2 something in the configuration or the scene
is wrong; 143 stopped by SIGTERM, what was done is kept and the same command continues from there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
if str(CHECKOUT) not in sys.path:  # started by its path, from any folder
    sys.path.insert(0, str(CHECKOUT))

if __name__ == "__main__":
    from preprocess.interpreter import TRAINER, require

    require(TRAINER)

from preprocess.faults import FaultsError  # noqa: E402
from preprocess.scene_data import SceneDataError  # noqa: E402
from preprocess.torch_adapter import defer_compiler  # noqa: E402
from training.configuration.run_modes import RUN_MODES  # noqa: E402
from training.system.exit_status import DONE, FAILED, TERMINATED, USAGE  # noqa: E402
from training.trainer.config.compose import composed, keep_configuration, load_config  # noqa: E402
from training.trainer.config.schema import Config  # noqa: E402
from training.trainer.termination import (  # noqa: E402
    SignalRequests,
    Terminated,
    TrainingError,
)

PREPARE = "--prepare-gpu"


def main(arguments: Sequence[str]) -> int:
    """Run as the arguments say; return the exit status."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return DONE
    _let_waiting_threads_sleep()
    defer_compiler()
    requests = SignalRequests()
    requests.install_handlers()
    activity = "reading the configuration"
    options, overrides = _configuration_flags(arguments)
    try:
        if options.cfg:
            _print_configuration(overrides, resolved=options.resolve)
        elif PREPARE in overrides:
            _prepare_gpu([each for each in overrides if each != PREPARE])
        else:
            config = load_config(overrides)
            mode = RUN_MODES[config.run_mode]
            activity = mode.activity
            FUNCTIONS[mode.function](config, requests)
    except FaultsError as error:
        print(error, file=sys.stderr)
        return USAGE
    except (OSError, SceneDataError, TrainingError) as error:
        print(f"{activity} failed: {error}", file=sys.stderr)
        return FAILED
    except Terminated:
        return TERMINATED
    return DONE


def _configuration_flags(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return Hydra's flags that ask for the configuration, and the other arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--cfg", "-c", choices=["job"])
    parser.add_argument("--resolve", action="store_true")
    return parser.parse_known_args(arguments)


def _print_configuration(overrides: Sequence[str], *, resolved: bool) -> None:
    """Print the composed configuration as YAML; raises FaultsError for wrong overrides."""
    from training.configuration.configuration_file import as_yaml
    from training.configuration.interpolations import resolve

    content = composed(overrides)
    print(as_yaml(resolve(content) if resolved else content), end="")


def warm_up(arguments: Sequence[str]) -> None:
    """Import what a run with such arguments imports: a starter does so once for several scenes."""
    _let_waiting_threads_sleep()
    defer_compiler()
    from training.trainer.import_ahead import import_ahead

    modes = (mode for name, mode in RUN_MODES.items() if f"run_mode={name}" in arguments)
    import_ahead(next((mode.function for mode in modes), _train.__name__))


def _let_waiting_threads_sleep() -> None:
    """Set OpenMP's policy, unless the user has; it is read when torch is loaded.

    Threads that wait by spinning take the cores from those that work, where several trainers share
    a machine: measured 13 times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _prepare_gpu(arguments: Sequence[str]) -> None:
    from training.trainer.gaussians.gsplat_extension import prepare_gpu

    prepare_gpu(load_config(arguments).device)


def _train(config: Config, requests: SignalRequests) -> None:
    from training.trainer.input_checks import check_inputs

    inputs = check_inputs(config)
    _prepare_computing(config)
    from training.trainer.gaussians.ply_export import export_people
    from training.trainer.loop import train
    from training.trainer.setup import prepare_run

    run = prepare_run(config, inputs, requests)
    try:
        keep_configuration(config)
        train(run)
        posed = {inputs.frames[index]: index for index in inputs.exported}
        export_people(run.output, run.model, posed, requests.stop_if_asked)
    finally:
        run.reports.close()


def _generate(config: Config, requests: SignalRequests) -> None:
    from training.trainer.difix.generation_checks import check_generation

    inputs = check_generation(config)
    _prepare_computing(config)
    from training.trainer.difix.generate import generate

    generate(config, inputs, requests)


def _aggregate(config: Config, requests: SignalRequests) -> None:
    from training.trainer.difix.merge_shards import aggregate

    aggregate(config, requests)


def _train_refiner(config: Config, requests: SignalRequests) -> None:
    _prepare_computing(config)
    from training.trainer.refiner.train import train_refiner
    from training.trainer.setup import choose_device

    train_refiner(config, requests, choose_device(config.device))


def _evaluate(config: Config, requests: SignalRequests) -> None:
    from training.trainer.input_checks import check_evaluation

    inputs = check_evaluation(config)
    _prepare_computing(config)
    from training.trainer.standalone_evaluation import evaluate_trained

    evaluate_trained(config, inputs, requests)


def _prepare_computing(config: Config) -> None:
    """Use the cores that Slurm has given, and the configured rasterizer; imports torch."""
    import torch

    from training.trainer.gaussians.rasterizer import use_cpu_rasterizer

    torch.set_num_threads(int(os.environ.get("SLURM_CPUS_PER_TASK", "1")))
    use_cpu_rasterizer(config.cpu_rasterizer)


FUNCTIONS: dict[str, Callable[[Config, SignalRequests], None]] = {
    function.__name__: function
    for function in (_train, _generate, _aggregate, _train_refiner, _evaluate)
}
"""By `RunMode.function` in training/configuration/run_modes.py, which lists the run modes."""


if __name__ == "__warm_up__":  # as training/execution/warm_start runs it
    warm_up(sys.argv[1:])

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
