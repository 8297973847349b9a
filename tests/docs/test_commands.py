"""Every command on every page: it is run here, or the test that runs it is named here.

A command that trains is run as a dry run: options, overrides, scenes and data are checked as for a
launch. What training itself does is proved by other tests, and by `make demo` in CI.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from training.system import typed_command

CHECKOUT = Path(__file__).resolve().parents[2]
STAND_IN = CHECKOUT / "tests" / "stand_in_trainer.py"
pytestmark = pytest.mark.processes
SCENES = [path.stem for path in (CHECKOUT / "preprocess" / "scenes").glob("*.json")]
PAGES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *(CHECKOUT / "docs").glob("*.md")]
BLOCK = re.compile(r"^( *)```bash\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
DEEP_TRAINER = """
import json, os, pathlib, sys
given = dict(item.split("=", 1) for item in sys.argv[1:])
names = [os.environ[f"TS_{each}"] for each in ("RESULTS_ROOT", "SCENE_NAME", "EXP_NAME")]
psnr = float(given["train.optimization.loss.depth"])
pathlib.Path(*names, "metrics.json").write_text(json.dumps({"psnr": psnr}))
"""
ELSEWHERE = {
    "source .venv/bin/activate": "CI, which runs make",
    'eval "$(make -s slurm-up)"': "every test in tests/slurm, by the same module",
    "sinfo": "Slurm's own",
    "make slurm-down": "every test in tests/slurm, by the same module",
    'exec python training/run.py "$@"': "tests/slurm/test_script_shapes.py",
    'eval "$(training-scheduler completion': "tests/deployments/console/test_completion.py",
    "prefect ": "Prefect's own; which of its settings are read: tests/flows/server",
    "PREFECT_": "Prefect's own",
    "python -m preprocess.synthetic": "tests/preprocess/synthetic",
    "training-scheduler check": "tests/training/cli/test_check.py",
    "python -m preprocess.import_hi4d": "tests/preprocess/test_import_hi4d.py",
    "python stand_in": "tests/docs/test_own_scenes.py",
    "training-scheduler launch --scene-name-includes my_dance": "tests/docs/test_own_scenes.py",
    "training-scheduler launch --scene-name-includes hi4d_": "tests/docs/test_own_scenes.py",
    "training-scheduler status --exp-name first": "tests/training/cli",
    "training-scheduler report --exp-name first": "tests/training/report",
    "python training/simple_multi_human_trainer.py run_mode=ref": "tests/training/cli",
    "export ": "the shell's own",
    "python -m flows.train --cluster slurm": "tests/slurm/test_slurm_flow.py",
    "ssh -N": "the user's own",
    "training-scheduler view": "tests/training/viewer",
    "python training/simple_multi_human_trainer.py shared.scene_name": "tests/training/trainer",
    "python -m flows.train --loop": "tests/flows/test_loop.py",
    "python training/run.py --loop": "tests/training/cli/test_loop.py, tests/slurm",
    "python training/run.py --scene-name-includes hi4d_pair17_dance": "tests/training/cli",
}
"""Commands that are not run here, by how they begin, and what runs them."""


def commands() -> Iterator[tuple[str, str]]:
    """Yield each command with its page."""
    for page in PAGES:
        for _, block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                if line.strip() and not line.strip().startswith("#"):
                    yield page.name, line.strip()


def is_run_elsewhere(command: str) -> bool:
    return any(command.startswith(beginning) for beginning in ELSEWHERE)


def unique() -> list[str]:
    """Return the commands to run here, each once."""
    found = {shlex.join(shlex.split(command, comments=True)): command for _, command in commands()}
    return [command for command in found.values() if not is_run_elsewhere(command)]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Path]:
    """A user's folder in which the pages' experiments were trained by the stand-in trainer."""
    root = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name in ("RESULTS", "SCENE_DATA", "STATE"):
            patch.setenv(f"TS_{name}_ROOT", str(root / name.lower()))
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setattr(typed_command, "_program", "")  # what a command sets ends with these tests
        registry = root / "registry"
        registry.mkdir()
        for name in SCENES:  # without recipes, whose data would have to be built
            text = json.dumps({"seq_name": name, "cam_id": 1})
            (registry / f"{name}.json").write_text(text, encoding="utf-8")
        shutil.copytree(registry, root / "scenes96")
        (root / "my_trainer.py").write_text(own_trainer(), encoding="utf-8")
        for exp_name in ("my_exp", "other_exp"):
            train(registry, "--exp-name", exp_name, "--train-script", str(STAND_IN))
        swept = ("--scene-name-includes", SCENES[0], "--sweep", "epochs=30,50", "seed=1")
        train(registry, "--exp-name", "my_sweep", "--train-script", str(STAND_IN), *swept)
        for name in SCENES:  # a page trains these before it makes data of them
            model = root / "results" / name / "v1_difix_data" / "checkpoints" / "last.pt"
            model.parent.mkdir(parents=True)
            model.write_text("trained", encoding="utf-8")
        yield root


def own_trainer() -> str:
    """Return the script of docs/own-trainer.md."""
    page = CHECKOUT / "docs" / "own-trainer.md"
    (code,) = PYTHON_BLOCK.findall(page.read_text(encoding="utf-8"))
    return code


def train(registry: Path, *flags: str) -> str:
    """Train a registry's scenes in a process that is gone afterwards; return its output."""
    command = [sys.executable, "training/run.py", "--run-all", "--scenes-dir", registry, *flags]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=120, cwd=CHECKOUT
    )
    return done.stdout


def called(function: str, arguments: list[str]) -> int:
    module, _, name = function.partition(":")
    try:
        return getattr(import_module(module), name)(arguments)
    except SystemExit as end:  # as argparse ends after --help
        return int(end.code or 0)


def with_dry_run(arguments: list[str]) -> list[str]:
    """Leave commands that only look or end something as they are."""
    looks = {"--status", "--logs", "--cancel", "--dry-run", "--help"}
    return arguments if looks & set(arguments) else [*arguments, "--dry-run"]


def run(command: str) -> int:
    """Run a page's command in this process, and return its exit status."""
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        return subprocess.run(["make", "-n", *words[1:]], cwd=CHECKOUT, check=False).returncode
    if words[0] == "training-scheduler":
        trains = words[1] in {"train", "launch", "submit", "sweep"}
        given = with_dry_run(words[1:]) if trains else words[1:]
        return called("deployments.console.command:main", given)
    if words[:2] == ["python", "training/run.py"]:
        return called("training.run:main", with_dry_run(words[2:]))
    if words[:2] == ["python", "-m"] and words[2] in MODULES:
        function, arguments = MODULES[words[2]]
        return called(function, arguments(words[3:]))
    if words[0] == "python" and words[1].startswith("benchmarks/"):
        compile((CHECKOUT / words[1]).read_text(encoding="utf-8"), words[1], "exec")
        return 0
    pytest.fail(f"no test knows how to run: {command}")


MODULES: dict[str, tuple[str, Callable[[list[str]], list[str]]]] = {
    "flows.train": ("flows.train:main", with_dry_run),
    "flows.report": ("flows.report:main", list),
    "benchmarks": ("benchmarks.__main__:main", lambda given: [*given, "--list"]),
}
"""What `python -m` runs, and with which arguments here."""


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("command", unique())
def test_a_command_of_the_pages_works(command, capsys):
    """With exit status 0, in a folder as the pages describe it."""
    status = run(command)
    assert status == 0, capsys.readouterr()


def test_the_trainer_of_ones_own_trains_and_resumes(place):
    """The script on the page, with the page's arguments: progress, metrics, its checkpoint used."""
    script = place / "my_trainer.py"
    output = place / "results" / SCENES[0] / "counted"
    (output / "checkpoints").mkdir(parents=True)
    (output / "checkpoints" / "last.json").write_text('{"epoch": 3}', encoding="utf-8")
    flags = ("--exp-name", "counted", "--train-script", str(script), "--overrides", "epochs=5")
    assert "4 done" in train(place / "registry", *flags)
    assert json.loads((output / "metrics.json").read_text(encoding="utf-8"))["psnr"] == 25
    log = (output / "train.log").read_text(encoding="utf-8")
    assert "from epoch 3" in log
    assert log.count("TS_PROGRESS") == 2


def test_the_optimiser_is_told_what_was_trained(place):
    """The page's program trains what it asks for, and finds the best of it."""
    (place / "deep.py").write_text(DEEP_TRAINER, encoding="utf-8")
    code = PYTHON_BLOCK.findall((CHECKOUT / "docs/sweeps.md").read_text(encoding="utf-8"))[0]
    flags = ["--scene-name-includes", SCENES[0], "--scenes-dir", str(place / "registry")]
    flags += ["--train-script", str(place / "deep.py")]
    code = code.replace('"--run-all"', ", ".join(map(repr, flags)))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-W", "ignore", "-c", code]
    environment = {**os.environ, "PATH": path}
    said = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert said.returncode == 0, said.stderr
    outputs = list((place / "results" / SCENES[0] / "study").glob("depth=*,seed=?/metrics.json"))
    assert len(outputs) == 6
    best = max(json.loads(each.read_text(encoding="utf-8"))["psnr"] for each in outputs)
    assert said.stdout.strip().endswith(str(best))


def test_what_is_run_elsewhere_stands_on_a_page():
    """No entry outlives its command."""
    found = [command for _, command in commands()]
    stale = [each for each in ELSEWHERE if not any(line.startswith(each) for line in found)]
    assert not stale
