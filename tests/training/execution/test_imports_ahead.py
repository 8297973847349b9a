"""What a starter imports ahead is what each script would import for itself, or is left to it."""

from __future__ import annotations

import json

import pytest
from warm_start_lab import imported, library, log_of, run


def test_libraries_are_imported_once_as_the_script_would_and_its_own_modules_by_each_scene(
    tmp_path, scene, thread
):
    """Variables that the script sets first are set; an edited module of its own counts at once."""
    libraries = library(
        tmp_path,
        "slow",
        "import __main__\nTHREADS = os.environ['THREADS'] + os.path.basename(__main__.__file__)\n",
    )
    (tmp_path / "helper.py").write_text("VERSION = 1\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nos.environ.setdefault('THREADS', '4')\n"
        "import random, slow, helper, numpy\n"
        "print(slow.THREADS, helper.VERSION, random.random(), numpy.random.random())\n"
    )
    plans = [scene(script, state=tmp_path, **libraries) for _ in range(4)]
    run(thread, *plans[:3])
    (tmp_path / "helper.py").write_text("VERSION = 22\n")
    run(thread, plans[3])
    logs = [log_of(plan).split() for plan in plans]
    assert [log[:2] for log in logs] == [[b"4script.py", b"1"]] * 3 + [[b"4script.py", b"22"]]
    assert [len({log[column] for log in logs}) for column in (2, 3)] == [4, 4], "they repeat"
    assert imported(tmp_path) == ["slow", "slow"], "once to learn it, once ahead"


def test_what_an_import_has_read_is_imported_anew_when_it_changes(tmp_path, scene, thread):
    """Where it changes with each scene, that is told once, and fresh interpreters start."""
    libraries = library(tmp_path, "gpus", "SEEN = os.environ['CUDA_VISIBLE_DEVICES']\n")
    script = tmp_path / "script.py"
    script.write_text("import gpus\nprint(gpus.SEEN)\n")
    seen = ["0", "0", "0", "1", "0", "1", "0", "1"]
    plans = [scene(script, state=tmp_path, CUDA_VISIBLE_DEVICES=gpu, **libraries) for gpu in seen]
    outcomes = run(thread, *plans)
    assert [log_of(plan).decode().strip() for plan in plans] == seen
    (told,) = [outcome.notice for outcome in outcomes if outcome.notice]
    assert told.endswith("CUDA_VISIBLE_DEVICES has changed from scene to scene")
    assert len(imported(tmp_path)) == 7, "once for the two that are alike"


THREAD = "import threading as t\nt.Thread(target=t.Event().wait, args=[9], daemon=True).start()"
CHILD = "import subprocess\nsubprocess.Popen(['sleep', '60'])"
FOLDER = "import tempfile\nfolder = tempfile.TemporaryDirectory()"
CUDA = "cuda = type('cuda', (), {'is_initialized': staticmethod(lambda: True)})"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (THREAD, "starts threads"),
        (CHILD, "starts processes"),
        (FOLDER, "makes a temporary folder"),
        (CUDA, "uses the GPU"),
        ("print('hello')", "prints"),
    ],
)
def test_what_cannot_be_imported_ahead_is_imported_by_each_scene(
    text, reason, tmp_path, scene, thread
):
    """It is told once, by the module's name; what comes before it is imported ahead."""
    library(tmp_path, "first", "")
    libraries = library(tmp_path, "torch", text)
    script = tmp_path / "script.py"
    script.write_text("import first, torch\nprint(1)\n")
    plans = [scene(script, state=tmp_path, **libraries) for _ in range(5)]
    outcomes = run(thread, *plans)
    assert [outcome.status for outcome in outcomes] == ["done"] * 5
    assert len({log_of(plan) for plan in plans}) == 1
    told = [outcome.notice for outcome in outcomes if outcome.notice]
    assert [f"torch {reason}" in each for each in told] == [True]
    assert imported(tmp_path).count("torch") == 6
    assert imported(tmp_path).count("first") == 4, "learnt, tried, by a fresh interpreter, ahead"


def test_a_library_that_the_script_finds_elsewhere_is_not_taken_from_here(tmp_path, scene, thread):
    """A script that puts a folder before all others gets what lies there."""
    libraries = library(tmp_path, "slow", "print('installed')")
    special = tmp_path / "special" / "site-packages"
    special.mkdir(parents=True)
    (special / "slow.py").write_text("print('special')\n")
    script = tmp_path / "script.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(special)!r})\nimport slow\n")
    plans = [scene(script, state=tmp_path, **libraries) for _ in range(3)]
    outcomes = run(thread, *plans)
    assert [log_of(plan) for plan in plans] == [b"special\n"] * 3
    assert "slow is another one than the script imports" in outcomes[1].notice


def test_a_file_beside_the_script_hides_a_module_of_pythons_as_ever(tmp_path, scene, thread):
    """Though the starter itself has imported the module: then fresh interpreters start."""
    (tmp_path / "random.py").write_text("MINE = 1\n")
    script = tmp_path / "script.py"
    script.write_text("import random\nprint(random.MINE)\n")
    plan = scene(script, state=tmp_path)
    (outcome,) = run(thread, plan)
    assert log_of(plan) == b"1\n"
    assert "random.py has the name of one of Python's own modules" in outcome.notice


def test_what_an_import_reads_of_the_scene_is_the_scenes_own(tmp_path, scene, thread):
    """A folder that a script names after the scene before it imports what uses it."""
    libraries = library(tmp_path, "first", "") | library(
        tmp_path, "caching", "FOLDER = os.environ['CACHE']"
    )
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, first\n"
        "os.environ['CACHE'] = '/cache/' + sys.argv[1].partition('=')[2]\n"
        "import caching\nprint(caching.FOLDER)\n"
    )
    names = ["a_1", "a_2", "a_3"]
    argument = "shared.scene_name={}".format
    plans = [scene(script, argument(name), state=tmp_path, **libraries) for name in names]
    run(thread, *plans)
    assert [log_of(plan).decode() for plan in plans] == [f"/cache/{name}\n" for name in names]
    assert imported(tmp_path).count("first") == 2, "what comes before it is imported ahead"


def test_no_secret_is_written_down(tmp_path, scene, thread):
    """Neither one of the command line nor one that the script sets."""
    script = tmp_path / "script.py"
    script.write_text("import os\nos.environ['HF_TOKEN'] = 'hush'\nimport numpy\n")
    run(thread, scene(script, "wandb.api_key=hush", "epochs=3", state=tmp_path))
    (file,) = (tmp_path / "imports").iterdir()
    assert ["import", "numpy"] in [step[:2] for step in json.loads(file.read_text())["steps"]]
    assert "hush" not in file.read_text()


def test_other_arguments_learn_for_themselves_where_a_script_sets_variables(tmp_path):
    """Also where the steps of the first ones ended before a module."""
    from training.execution.warm_start.learnt_imports import learnt_imports

    file, steps = tmp_path / "imports.json", [["set", "THREADS", "4"], ["import", "torch", ""]]
    file.write_text(json.dumps({"steps": steps, "own": [], "arguments": ["exp=1"]}))
    assert learnt_imports(file, ["exp=1"]).end_before("torch")
    assert [learnt_imports(file, [each]).is_known for each in ("exp=1", "exp=2")] == [True, False]


@pytest.mark.parametrize(
    "content",
    [
        {"steps": 5},
        {"steps": [[]]},
        {"steps": [["import", "torch"]]},
        {"steps": [["run", "torch", ""]]},
        {"steps": [], "own": None},
        {"steps": [], "own": [], "left_out": 7},
        ["steps"],
    ],
)
def test_a_damaged_file_of_imports_is_learnt_anew(content, tmp_path):
    """The state root is shared: any program may have written the file."""
    from training.execution.warm_start.learnt_imports import learnt_imports

    file = tmp_path / "imports.json"
    file.write_text(json.dumps(content))
    learnt = learnt_imports(file, ["exp=1"])
    assert (learnt.steps, learnt.own, learnt.is_known) == ([], [], False)


def test_a_launch_says_once_what_its_workers_cannot_import_ahead(lab):
    """Each worker has a supervisor and a starter of its own."""
    lab.environment |= library(lab.root, "noisy", "print('hello')")
    for number in range(4):
        lab.add_scene(f"a_{number}")
    script = lab.root / "script.py"
    script.write_text("import noisy\n")
    flags = ("--run-all", "--workers", "2", "--train-script", str(script), "--expect", "train.log")
    warm = lab.run(*flags, stand_in=False)
    assert (warm.returncode, warm.stdout.count("prints when it is imported")) == (0, 1), warm.stdout
