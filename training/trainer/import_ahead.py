"""Import what a run mode imports, so that a run starts quickly after a fork.

See `training.execution.warm_start`. Nothing here may start threads, use a GPU or print.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from importlib import import_module

READING = (
    "yaml", "hydra", "hydra.core.override_parser.overrides_parser", "PIL.PngImagePlugin",
    "PIL.JpegImagePlugin",
)  # fmt: skip
MEASURING = ("torchmetrics.functional.image", "flip_evaluator")
LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "_train": (*READING, *MEASURING, "gsplat"),
    "_evaluate": (*READING, *MEASURING),
}
"""What the trainer's modules import when they use it; `READING` for all other run modes."""


def import_ahead(function: str) -> None:
    """Import for a run mode, which is named by its function, and load compiled code."""
    FUNCTIONS[function]()
    for name in LIBRARIES.get(function, READING):
        with contextlib.suppress(ImportError):  # the trainer says it, where it can't do without
            import_module(name)


def _train() -> None:
    import training.trainer.gaussians.ply_export
    import training.trainer.input_checks
    import training.trainer.loop
    import training.trainer.setup  # noqa: F401

    _load_rasterizer()


def _generate() -> None:
    import training.trainer.difix.generate
    import training.trainer.difix.generation_checks  # noqa: F401

    _load_rasterizer()


def _aggregate() -> None:
    import training.trainer.difix.merge_shards  # noqa: F401


def _train_refiner() -> None:
    import training.trainer.refiner.train  # noqa: F401


def _evaluate() -> None:
    import training.trainer.input_checks
    import training.trainer.standalone_evaluation  # noqa: F401

    _load_rasterizer()


def _load_rasterizer() -> None:
    from training.trainer.gaussians.rasterizer import load_ahead

    load_ahead()


FUNCTIONS: Mapping[str, Callable[[], None]] = {
    function.__name__: function
    for function in (_train, _generate, _aggregate, _train_refiner, _evaluate)
}
"""By the names of the functions in `training/simple_multi_human_trainer.py`."""
