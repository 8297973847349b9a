"""A trainer with a helper module and a configuration, to be edited while its scenes wait."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

SCRIPT = """\
import json, os, sys, time
from pathlib import Path
import helper
given = dict(each.split("=", 1) for each in sys.argv[1:])
results = Path(os.environ["TS_RESULTS_ROOT"])
if given.get("run_mode") == "difix_data_generation_aggregate":
    (results / "merged.json").write_text(json.dumps(helper.VALUE))
    sys.exit(0)
output = results / given["shared.scene_name"] / given["shared.exp_name"]
conf = Path(__file__).parent / "conf" / "train.yaml"
said = {"script": "planned", "helper": helper.VALUE, "file": helper.__file__}
said |= {"conf": conf.read_text().strip() if conf.exists() else "", "cwd": os.getcwd()}
data = Path(__file__).parent / "data" / "frames.txt"
said["data"] = data.read_text() if data.exists() else ""
(output / "ready.txt").touch()
end = time.monotonic() + 60
while "wait" in given and not (results / "go.txt").exists():
    if time.monotonic() > end:
        sys.exit("nobody said go")
    time.sleep(0.02)
(output / "said.json").write_text(json.dumps(said))
"""
PLANNED = "seed: 1  # planned"


class Project:
    """The folder of the trainer; with `git`, a repository in which the helper is not tracked."""

    def __init__(self, root: Path, lab: Any, *, git: bool = True) -> None:
        self.root, self.lab = root, lab
        (root / "conf").mkdir(parents=True)
        self.script = root / "train.py"
        self.script.write_text(SCRIPT)
        (root / "helper.py").write_text('VALUE = "planned"\n')
        (root / "conf" / "train.yaml").write_text(f"{PLANNED}\n")
        (root / ".gitignore").write_text("data/\n__pycache__/\n")
        if git:
            self.git("init", "--quiet")
            self.git("add", "train.py", "conf", ".gitignore")
            author = ("-c", "user.name=a", "-c", "user.email=a@b")
            self.git(*author, "commit", "--quiet", "--message=first")

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", "-C", str(self.root), *arguments], check=True, timeout=30)

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--train-script", str(self.script), "--run-all", "--kill-grace", "1")

    waits = ("--workers", "1", "--overrides", "wait=1")

    def edit(self) -> None:
        """Change everything of it: script, helper and configuration."""
        self.script.write_text(SCRIPT.replace('"planned"', '"edited"'))
        (self.root / "helper.py").write_text('VALUE = "edited"\n')
        (self.root / "conf" / "train.yaml").write_text("seed: 2\n")

    def take_back(self) -> None:
        self.script.write_text(SCRIPT)
        (self.root / "helper.py").write_text('VALUE = "planned"\n')
        (self.root / "conf" / "train.yaml").write_text(f"{PLANNED}\n")

    def edit_while_the_first_runs(self, eventually: Any, exp_name: str = "exp") -> None:
        self.wait_until_one_runs(eventually, exp_name)
        self.edit()
        self.go()

    def wait_until_one_runs(self, eventually: Any, exp_name: str = "exp") -> str:
        """Return the name of the scene that runs; the script waits for `go` with `wait=1`."""
        ready = f"*/{exp_name}/ready.txt"
        found = eventually(lambda: list(self.results.glob(ready)), "the first scene", 240)
        return found[0].parent.parent.name

    def go(self) -> None:
        (self.results / "go.txt").touch()

    @property
    def results(self) -> Path:
        return Path(self.lab.environment["TS_RESULTS_ROOT"])

    def said(self, scene: str, exp_name: str = "exp") -> dict[str, str]:
        path = self.results / scene / exp_name / "said.json"
        return json.loads(path.read_text(encoding="utf-8"))

    def is_planned(self, scene: str, exp_name: str = "exp") -> bool:
        """Whether a scene ran what was planned, every part of it."""
        said = self.said(scene, exp_name)
        return [said[key] for key in ("script", "helper", "conf")] == [
            "planned",
            "planned",
            PLANNED,
        ]
