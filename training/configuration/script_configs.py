"""Compose an application's configuration, with what its script registers in code where needed.

Structured configurations and resolvers are registered while a script is imported (`ConfigStore`).
The launcher imports no script into its own process: where files alone don't compose, a process of
its own does it (this module, started with `-m`) and answers with JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from preprocess.faults import Fault, FaultsError
from preprocess.roots import CHECKOUT
from training.configuration.applications import Application, NeedsScriptError, examine
from training.configuration.overrides import Composition

IMPORT_LIMIT_S = 120.0
"""Imports of PyTorch from a shared disk take tens of seconds."""
ANSWER = "\nTS_COMPOSITION "
"""Begins the answer, after whatever the script prints while it is imported."""
VERSION_BASE = re.compile(r"version_base\s*=\s*(?:(?P<none>None)|['\"](?P<version>[\d.]+)['\"])")


def compose_application(application: Application, script: Path) -> Composition:
    """Return what `applications.examine` finds, knowing what the script registers.

    Raises FaultsError when the configuration can't be composed.
    """
    text = script.read_text(encoding="utf-8", errors="replace") if script.is_file() else ""
    application = replace(application, version_base=_version_base(text))
    try:
        return examine(application)
    except NeedsScriptError as error:
        if "hydra" not in text:
            raise FaultsError(error.faults) from error
        return _ask_script(application, script, error)


def _version_base(script: str) -> str | None:
    """Return what the script gives `hydra.main`; as Hydra does, "1.1" where it gives nothing."""
    match = VERSION_BASE.search(script)
    return "1.1" if match is None else match["version"]


def _ask_script(application: Application, script: Path, error: FaultsError) -> Composition:
    """Return what a process finds that imports the script; raises FaultsError."""
    question = json.dumps({**asdict(application), "config": str(application.config)})
    command = [sys.executable, "-m", __name__, str(script), question]
    # Nothing is computed: a GPU that others use must not be touched.
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "CUDA_VISIBLE_DEVICES": ""}
    if inherited := os.environ.get("PYTHONPATH"):
        environment["PYTHONPATH"] += os.pathsep + inherited
    try:
        ended = subprocess.run(
            command,
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=IMPORT_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _unimportable(script, error, f"not done in {IMPORT_LIMIT_S:.0f} s") from error
    _, found, answer = ended.stdout.rpartition(ANSWER)
    if not found:
        last = (ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"])[-1]
        raise _unimportable(script, error, last) from error
    return _read(json.loads(answer))


def _unimportable(script: Path, error: FaultsError, reason: str) -> FaultsError:
    what = "the script that may register a configuration can't be imported"
    return FaultsError([*error.faults, Fault(what, f"{script}: {reason}")])


def _read(answer: dict[str, Any]) -> Composition:
    faults = tuple(Fault(*each) for each in answer["faults"])
    if answer["content"] is None:
        raise FaultsError(faults)
    return Composition(answer["content"], faults, tuple(answer["warnings"]))


def _answer(script: Path, question: dict[str, Any]) -> dict[str, Any]:
    _import_script(script)
    question["config"] = Path(question["config"])
    try:
        found = examine(Application(**question))
    except FaultsError as error:
        found = Composition({}, error.faults)
        return {"content": None, "faults": [_texts(fault) for fault in found.faults]}
    faults = [_texts(fault) for fault in found.faults]
    return {"content": found.content, "faults": faults, "warnings": found.warnings}


def _texts(fault: Fault) -> tuple[str, str, str]:
    return fault.what, fault.value, fault.remedy


def _import_script(script: Path) -> None:
    """Run the script's top level under another name than `__main__`."""
    sys.path[0] = str(script.parent)
    # For a script that starts without asking for __main__: Hydra then only prints.
    sys.argv = [str(script), "--cfg", "job"]
    spec = importlib.util.spec_from_file_location("application_of_train_script", script)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SystemExit:
        return


if __name__ == "__main__":
    print(ANSWER + json.dumps(_answer(Path(sys.argv[1]), json.loads(sys.argv[2])), default=str))
