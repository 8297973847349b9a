"""`training-scheduler view`: show a scene in the browser until Ctrl-C."""

from __future__ import annotations

import errno
import io
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from preprocess.faults import Fault, FaultsError, did_you_mean
from preprocess.registry import load_scenes
from preprocess.roots import absolute, is_checkout, resolve_root_folders, shipped
from preprocess.scene import Scene
from preprocess.scene_data import SceneDataError
from training.cli.parser import parse_options, reporting_faults
from training.plan.option_types import folder_name
from training.plan.options import Flag, LaunchOptions, flag_of
from training.system.console import say
from training.system.exit_status import DONE, FAILED
from training.system.typed_command import spelled

DESCRIPTION = "Show a scene in 3D in the browser: people, cameras, images, before and after."
SCENES = "preprocess/scenes"
PACKAGES = {"viser": "viewer", "torch": "trainer"}
"""What must be importable, and the extra that installs it."""
PORTS_TRIED = 100
EVERYONE = ("0.0.0.0", "::")  # noqa: S104 - said to the user, not bound
LOOPBACK = "127.0.0.1"


class ViewOptions(BaseModel):
    """Which scene to show, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    scene: Annotated[str, Flag("What to show", "synthetic_pair01_wave --exp-name my_exp", "SCENE")]
    """The scene, by its name."""

    exp_name: Annotated[str, Flag("What to show", "--exp-name my_exp")] = ""
    """The experiment that has trained it; without it the scene before training."""

    host: Annotated[str, Flag("Where to serve", "--host 127.0.0.1")] = LOOPBACK
    """Address to serve at; 0.0.0.0 lets everyone who reaches this machine look."""

    port: Annotated[int, Flag("Where to serve", "--port 8090"), Field(ge=1, le=65535)] = 8080
    """Port to serve at; the next free one where it is taken."""

    scenes_dir: Annotated[str, flag_of("scenes_dir", LaunchOptions)] = ""
    """Folder of scene files; the shipped registry when not given."""

    results_root: Annotated[str, flag_of("results_root", LaunchOptions)] = ""
    """Where results are (TS_RESULTS_ROOT)."""

    scene_data_root: Annotated[str, flag_of("scene_data_root", LaunchOptions)] = ""
    """Where scene data lies (TS_SCENE_DATA_ROOT)."""

    @field_validator("exp_name")
    @classmethod
    def _name_is_a_folder_name(cls, value: str) -> str:
        return folder_name(value) if value else value


def view(argv: Sequence[str]) -> int:
    """Serve a scene until Ctrl-C; return the exit status: 130 then, 2 for what is wrong."""
    prog = spelled("view")
    return reporting_faults(lambda: _view(parse_options(argv, ViewOptions, prog, DESCRIPTION)))


def _view(options: ViewOptions) -> int:
    _refuse_missing_packages()
    folder = absolute(options.scenes_dir) if options.scenes_dir else shipped(SCENES)
    scene = scene_named(options.scene, load_scenes(folder))
    roots = resolve_root_folders(options.model_dump())
    port = free_port(options.host, options.port)
    say(f"loading {scene.seq_name}")
    from training.trainer.termination import TrainingError

    try:
        _serve(scene, options, roots["results_root"], roots["scene_data_root"], port)
    except (OSError, SceneDataError, TrainingError) as error:
        say(f"{scene.seq_name} can't be shown: {error}", sys.stderr)
        return FAILED
    return DONE


def _serve(scene: Scene, options: ViewOptions, results: Path, data: Path, port: int) -> None:
    """Load and serve; raises KeyboardInterrupt at Ctrl-C."""
    import torch
    import viser

    from training.viewer.page import ViewerPage
    from training.viewer.viewed_scene import load_scene

    torch.set_num_threads(1)
    loaded = load_scene(scene, options.exp_name, results, data)
    if loaded.epoch is None:
        say(untrained_line(scene.seq_name, options.exp_name, results))
    with redirect_stdout(io.StringIO()):  # viser prints a frame around the address
        server = viser.ViserServer(host=options.host, port=port, verbose=False)
    try:
        page = ViewerPage(server, loaded)
        say(served_text(options.host, server.get_port(), options.port))
        page.run(threading.Event())
    finally:
        with redirect_stdout(io.StringIO()):
            server.stop()


def scene_named(name: str, scenes: Sequence[Scene]) -> Scene:
    """Return the scene with this name; raises FaultsError with the nearest ones."""
    by_name = {scene.seq_name: scene for scene in scenes}
    if name not in by_name:
        raise FaultsError([Fault("no scene has the name", name, did_you_mean(name, by_name))])
    return by_name[name]


def untrained_line(scene: str, exp_name: str, results_root: Path) -> str:
    """Return what is shown where nothing is trained, and why."""
    shown = "showing the scene's data and the people before training"
    if not exp_name:
        return f"{shown}; --exp-name EXPERIMENT shows them trained"
    trained = sorted(
        path.parent.parent.name for path in results_root.glob(f"{scene}/*/checkpoints/last.pt")
    )
    where = did_you_mean(exp_name, trained) if trained else "no experiment has trained it"
    return f"{exp_name} has no trained model of {scene} ({where}): {shown}"


def served_text(host: str, port: int, wanted: int) -> str:
    """Return where the page is, how it is reached from another machine, and how it ends."""
    lines = [] if port == wanted else [f"port {wanted} is taken: using {port}"]
    address = LOOPBACK if host in EVERYONE else host
    shown = f"[{address}]" if ":" in address else address
    lines.append(
        f"http://{shown}:{port} (without a password: others of this machine can look, too)"
    )
    if host in EVERYONE:
        lines.append("so can everyone else who reaches this machine")
    else:
        forwarded = f"ssh -N -L {port}:{address}:{port} {socket.gethostname()}"
        lines.append(f"from another machine: {forwarded}, then http://127.0.0.1:{port} there")
    return "\n".join([*lines, "Ctrl-C ends it"])


def free_port(host: str, wanted: int) -> int:
    """Return the first free port from `wanted` on; raises FaultsError where none can be had."""
    for port in range(wanted, min(wanted + PORTS_TRIED, 65536)):
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.create_server((host, port), family=family):
                return port
        except (OSError, UnicodeError) as error:
            if getattr(error, "errno", None) not in (errno.EADDRINUSE, errno.EACCES):
                remedy = "use 127.0.0.1, or an address of this machine"
                raise FaultsError([Fault("can't serve at --host", host, remedy)]) from error
    remedy = "name another --port"
    raise FaultsError([Fault(f"none of {PORTS_TRIED} ports is free from", str(wanted), remedy)])


def _refuse_missing_packages() -> None:
    project = "." if is_checkout() else "training-scheduler"
    faults = [
        Fault(f"{package} is not installed", remedy=f"pip install '{project}[{extra}]'")
        for package, extra in PACKAGES.items()
        if find_spec(package) is None
    ]
    if faults:
        raise FaultsError(faults)
