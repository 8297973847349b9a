"""`run_mode=refiner_train`: train the small refiner on an experiment's DiFix data.

<results>/_experiments/<exp_name>/refiner/
model.pt         the network, for difix.model_id=<this folder>
tuned_on.json    the groups and scenes that it was trained on
metrics.json     what it repairs on the groups that were held out
examples.png     some of these
checkpoints/     while it is trained: the state to continue from
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from preprocess.faults import Fault, FaultsError
from preprocess.roots import under_checkout
from training.configuration.run_modes import AGGREGATE, REFINER_TRAIN
from training.system.atomic_write import write_json_atomically
from training.trainer.checkpoints import (
    forget_previous,
    read_newest,
    read_tensors,
    write_tensors,
)
from training.trainer.config.schema import Config, RefinerTrain
from training.trainer.evaluation.experiment_loggers import report_progress
from training.trainer.refiner.assess import assess, chosen, write_examples
from training.trainer.refiner.network import (
    RefinerNetwork,
    SmallRefiner,
    read_network,
    save_network,
)
from training.trainer.refiner.pair_files import Pair, read_pairs
from training.trainer.refiner.pairs import PairReader, batch_pairs
from training.trainer.refiner.tuned_on import TunedOn, write_tuned_on
from training.trainer.refiner.weights import SMALL_MODEL
from training.trainer.scene_groups import groups_of
from training.trainer.termination import SignalRequests, Terminated, TrainingError

STATE = "checkpoints/last.pt"
METRICS = "metrics.json"
EXAMPLES = "examples.png"
PROGRESS_STEPS = 50
CLIP = 1.0  # largest norm of a step's gradient


@dataclass
class RefinerRun:
    """Everything that training one refiner works on."""

    config: Config
    folder: Path
    pairs: dict[str, list[Pair]]
    reader: PairReader
    identity: dict[str, Any]
    network: RefinerNetwork
    optimizer: torch.optim.Optimizer
    requests: SignalRequests
    device: torch.device
    step: int = 0
    seconds: float = 0.0
    clock: float = field(default_factory=time.monotonic)

    @property
    def settings(self) -> RefinerTrain:
        """The keys below refiner_train."""
        return self.config.refiner_train

    def elapsed_seconds(self) -> float:
        """Update and return the seconds spent on this run, earlier attempts included."""
        now = time.monotonic()
        self.seconds += now - self.clock
        self.clock = now
        return self.seconds


def refiner_folder(config: Config) -> Path:
    """Return the folder that the experiment's refiner is written to."""
    return config.experiment_output / REFINER_TRAIN.output_subdir


def dataset_file(config: Config) -> Path:
    """Return the data.json to train on."""
    if config.refiner_train.dataset:
        return under_checkout(config.refiner_train.dataset)
    return config.experiment_output / AGGREGATE.output_subdir / AGGREGATE.expected_outputs[0]


def train_refiner(config: Config, requests: SignalRequests, device: torch.device) -> None:
    """Train on the train groups, measure on the test groups, and write the refiner's folder.

    Raises FaultsError, TrainingError, OSError; Terminated after SIGTERM, and then the same command
    continues from there.
    """
    run = prepare(config, requests, device)
    if _is_done(run):
        print(f"{run.folder / SMALL_MODEL} is of this training set: nothing to do", flush=True)
        return
    resume(run)
    train(run)
    finish(run)


def prepare(config: Config, requests: SignalRequests, device: torch.device) -> RefinerRun:
    """Read the training set and return an untrained run; raises FaultsError, OSError."""
    path = dataset_file(config)
    pairs = read_pairs(path)
    if not pairs["train"]:
        remedy = "generate scenes of other groups than difix_data_generation.test_groups"
        raise FaultsError([Fault("the training set has no sample in train", str(path), remedy)])
    torch.manual_seed(config.seed)
    network = RefinerNetwork(config.refiner_train.channels).to(device)
    return RefinerRun(
        config=config,
        folder=refiner_folder(config),
        pairs=pairs,
        reader=PairReader(config.model.background),
        identity=_identity(config, path, pairs),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=config.refiner_train.learning_rate),
        requests=requests,
        device=device,
    )


def train(run: RefinerRun) -> None:
    """Take all steps that are left; raises Terminated, TrainingError, OSError."""
    settings, losses = run.settings, list[float]()
    if run.step < settings.steps:
        print(
            f"steps {run.step + 1} to {settings.steps} on {len(run.pairs['train'])} pairs",
            flush=True,
        )
    while run.step < settings.steps:
        _handle_signals(run)
        losses.append(_take_step(run))
        if run.step % PROGRESS_STEPS == 0 or run.step == settings.steps:
            loss = sum(losses) / len(losses)
            if not math.isfinite(loss):
                raise TrainingError("the loss is not finite: lower refiner_train.learning_rate")
            report_progress({"step": run.step, "steps": settings.steps, "loss": round(loss, 6)})
            losses.clear()


def finish(run: RefinerRun) -> None:
    """Measure the refiner and write its files, the model last; raises TrainingError, OSError."""
    refiner = SmallRefiner(run.network, run.device)
    measured = chosen(run.pairs["test"], run.settings.max_eval_samples)
    metrics = _metrics(run, refiner, measured)
    tuned_on = TunedOn(tuple(_groups(run, "train")), tuple(_scenes(run.pairs["train"])))
    (run.folder / SMALL_MODEL).unlink(missing_ok=True)  # never beside another's tuned_on.json
    write_tuned_on(run.folder, tuned_on)
    write_examples(run.folder / EXAMPLES, refiner, measured, run.reader)
    write_json_atomically(run.folder / METRICS, {**metrics, "picture": EXAMPLES})
    facts = {"identity": run.identity, **tuned_on.content()}
    save_network(run.folder / SMALL_MODEL, run.network, facts)
    (run.folder / STATE).unlink(missing_ok=True)
    forget_previous(run.folder / STATE)
    print(_sentence(metrics, run.folder), flush=True)


def resume(run: RefinerRun) -> None:
    """Continue from the state of an earlier attempt at the same training; raises OSError."""
    state = read_newest(run.folder / STATE, read_tensors)
    if state is None:
        return
    if state.get("identity") != run.identity:
        print(f"{run.folder / STATE} is of another training, which starts anew", flush=True)
        return
    run.network.load_state_dict(state["network"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.step, run.seconds = state["step"], state["seconds"]
    print(f"continuing after step {run.step}", flush=True)


def _handle_signals(run: RefinerRun) -> None:
    """Save the state where it is due or a signal asked for it; raises Terminated, OSError."""
    if run.requests.save or run.step % run.settings.checkpoint_every_steps == 0:
        _save_state(run)
        run.requests.save = False
    if run.requests.stop:
        print(f"stopped after step {run.step} of {run.settings.steps}", flush=True)
        raise Terminated


def _take_step(run: RefinerRun) -> float:
    """Take one step; what it draws follows from seed and step alone. Returns the loss."""
    settings = run.settings
    generator = torch.Generator().manual_seed(run.config.seed * 1_000_003 + run.step)
    drawn = batch_pairs(run.pairs["train"], settings.batch_size, generator)
    batch = run.reader.crops(drawn, settings.crop, generator)
    render, target, places, reference = (part.to(run.device) for part in batch)
    for group in run.optimizer.param_groups:
        done = run.step / settings.steps
        group["lr"] = settings.learning_rate * (1 + math.cos(math.pi * done)) / 2
    # Squared, as PSNR counts: where an edge may lie here or there, its mean is the best answer.
    loss = functional.mse_loss(run.network(render, places, reference), target)
    run.optimizer.zero_grad()
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), CLIP)
    run.optimizer.step()
    run.step += 1
    return float(loss.detach())


def _save_state(run: RefinerRun) -> None:
    run.elapsed_seconds()
    state = {
        "identity": run.identity,
        "network": run.network.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "step": run.step,
        "seconds": run.seconds,
    }
    write_tensors(run.folder / STATE, state)


def _is_done(run: RefinerRun) -> bool:
    outputs = [run.folder / name for name in REFINER_TRAIN.expected_outputs]
    if not all(path.is_file() for path in outputs):
        return False
    try:
        _, facts = read_network(run.folder / SMALL_MODEL)
    except TrainingError:
        return False
    return facts.get("identity") == run.identity


def _identity(config: Config, path: Path, pairs: Mapping[str, Sequence[Pair]]) -> dict[str, Any]:
    """Return what decides the refiner, as plain data: seed, keys, and the files of the samples."""
    keys = config.refiner_train.model_dump(exclude={"dataset", "checkpoint_every_steps"})
    return {
        "seed": config.seed,
        "background": config.model.background,
        "dataset": str(path),
        "samples": _digest(pair for split in pairs.values() for pair in split),
        **keys,
    }


def _digest(pairs: Iterable[Pair]) -> str:
    """Return a hash of the samples' names and of their files' sizes and times."""
    digest = hashlib.sha256()
    for pair in pairs:
        facts = [(found.st_size, found.st_mtime_ns) for found in map(Path.stat, pair.paths)]
        digest.update(json.dumps([pair.name, facts]).encode())
    return digest.hexdigest()


def _metrics(run: RefinerRun, refiner: SmallRefiner, measured: Sequence[Pair]) -> dict[str, Any]:
    metrics = {
        "exp_name": run.config.shared.exp_name,
        "seed": run.config.seed,
        "steps": run.step,
        "parameters": sum(each.numel() for each in run.network.parameters()),
        "train_samples": len(run.pairs["train"]),
        "train_groups": _groups(run, "train"),
        "test_groups": _groups(run, "test"),
        **assess(refiner, measured, run.reader),
        "seconds": round(run.elapsed_seconds(), 1),
    }
    if not measured:
        metrics["psnr_reason"] = "no group is held out: see difix_data_generation.test_groups"
    return metrics


def _groups(run: RefinerRun, split: str) -> list[str]:
    settings = run.config.difix_data_generation.model_copy(update={"strict": False})
    return sorted({str(group) for group in groups_of(_scenes(run.pairs[split]), settings).values()})


def _scenes(pairs: Iterable[Pair]) -> list[str]:
    return sorted({pair.scene for pair in pairs})


def _sentence(metrics: Mapping[str, Any], folder: Path) -> str:
    if metrics["psnr"] is None:
        return f"refiner written to {folder}; {metrics.get('psnr_reason', 'nothing measured')}"
    parts = [
        f"{label} {metrics[f'{name}_before']:.2f} -> {metrics[name]:.2f} dB"
        for label, name in (("PSNR", "psnr"), ("of people", "psnr_people"))
        if metrics[name] is not None
    ]
    held_out = ", ".join(metrics["test_groups"])
    return f"{', '.join(parts)} on people held out ({held_out}): {folder}"
