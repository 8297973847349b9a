"""The viewer's page: everything that is shown and set with viser.

One thread, `ViewerPage.run`, looks at what is chosen on the page and shows it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import viser
from numpy.typing import NDArray
from PIL import Image
from viser.transforms import SO3

from preprocess.scene_data import SceneDataError
from training.trainer.cameras.camera import Camera
from training.trainer.cameras.view import View
from training.trainer.evaluation.pictures import image_grid, tile, to_pil_image
from training.trainer.evaluation.run_reports import shown_render
from training.viewer.viewed_scene import AFTER, BEFORE, ViewedScene

Array = NDArray[Any]

IDLE_S = 0.05
THUMBNAIL = 160  # pixels of the longer side of the image in a frustum
MOST_THUMBNAILS = 4000  # 230 MB
SMOOTH_S = 0.15
"""A picture that takes longer to draw waits until the frames stand still."""
COLOURS = {"source": (230, 120, 20), "held out": (40, 110, 200), "": (130, 130, 130)}
FRUSTUM_M = 0.25
FOV = math.radians(50)


@dataclass(frozen=True)
class Choice:
    """What is chosen on the page: a frame index, a model, a camera, and whether it is playing."""

    index: int
    people: str
    camera: int
    playing: bool


class ViewerPage:
    """A scene in 3D with its controls, on a server of viser."""

    def __init__(self, server: viser.ViserServer, scene: ViewedScene) -> None:
        self.server, self.scene = server, scene
        self._thumbnails: dict[tuple[int, int], Array | None] = {}
        self._shown: Choice | None = None
        self._pictured: tuple[int, int] | None = None
        self._picture_s = 0.0
        self._add_controls()
        self._add_people()
        self._add_cameras()
        self._place_visitors()

    @property
    def shown(self) -> Choice | None:
        """What is shown now; None before the first time."""
        return self._shown

    def run(self, stop: threading.Event) -> None:
        """Keep the page as it is chosen, and play, until `stop` is set."""
        while not stop.is_set():
            started = time.monotonic()
            self.refresh()
            pause = 1 / self.speed.value if self.play.value else IDLE_S
            stop.wait(max(0.0, pause - (time.monotonic() - started)))
            if self.play.value:
                _set(self.frame, (self.frame.value + 1) % len(self.scene.frames))

    def refresh(self) -> None:
        """Show what is chosen, where something else is shown."""
        chosen = self._chosen()
        if chosen != self._shown:
            self._show(chosen)
            self._shown = chosen
        at = (chosen.camera, chosen.index)
        if at != self._pictured and not (chosen.playing and self._picture_s > SMOOTH_S):
            self._draw(*at)
            self._pictured = at

    def _chosen(self) -> Choice:
        camera = self._cameras_by_label[self.camera.value]
        return Choice(self.frame.value, self.people.value, camera, self.play.value)

    def _add_controls(self) -> None:
        gui, scene = self.server.gui, self.scene
        gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
        gui.set_panel_label(scene.name)
        gui.add_markdown(_about(scene))
        last = len(scene.frames) - 1
        self.frame = gui.add_slider("position", 0, max(last, 1), 1, 0, hint="of the frame")
        self.number = gui.add_text("frame", str(scene.frames[0]), disabled=True)
        self.play = gui.add_checkbox("play", initial_value=False)
        self.speed = gui.add_slider("frames a second", 1, 30, 1, 8)
        models = [name for name in (AFTER, BEFORE) if name in scene.models]
        self.people = gui.add_dropdown("people", models, initial_value=models[0])
        self._cameras_by_label = {self._label(camera): camera for camera in scene.readers}
        labels = list(self._cameras_by_label)
        first = next((each for each in scene.held_out if each in scene.readers), scene.source)
        self.camera = gui.add_dropdown("camera", labels, initial_value=self._label(first))
        look = gui.add_button("look through this camera")
        look.on_click(self._look_through)
        self.images = gui.add_checkbox("images at the cameras", initial_value=True)
        self.images.on_update(lambda _: self._show_images())
        self.picture = gui.add_image(np.full((8, 8, 3), 255, np.uint8))
        self.caption = gui.add_markdown("")

    def _label(self, camera: int) -> str:
        use = self.scene.use_of(camera)
        return f"{camera} ({use})" if use else str(camera)

    def _add_people(self) -> None:
        scene = self.server.scene
        scene.set_up_direction(tuple(self.scene.bounds.up.tolist()))
        self.splats = {
            name: scene.add_gaussian_splats(f"/people/{name}", *self._splats(name, 0))
            for name in self.scene.models
        }

    @torch.no_grad()
    def _splats(self, name: str, index: int) -> tuple[Array, Array, Array, Array]:
        """Return centers, covariances, colours and opacities of the people at a frame index."""
        posed = self.scene.models[name].gaussians_at(index)
        colors, opacities = posed.features[:, :3].clamp(0, 1), posed.opacities[:, None]
        means, covars, colors_, opacities_ = (
            each.numpy() for each in (posed.means, posed.covars, colors, opacities)
        )
        return means, covars, colors_, opacities_

    def _add_cameras(self) -> None:
        self._frusta: dict[int, viser.CameraFrustumHandle] = {}
        for camera in self.scene.readers:
            view = self._view(camera, 0)
            if isinstance(view, View):
                self._frusta[camera] = self._frustum(camera, view.camera)

    def _frustum(self, camera_id: int, camera: Camera) -> viser.CameraFrustumHandle:
        use = self.scene.use_of(camera_id)
        handle: viser.CameraFrustumHandle = self.server.scene.add_camera_frustum(
            f"/cameras/{camera_id}",
            fov=_vertical_fov(camera),
            aspect=camera.width / camera.height,
            scale=FRUSTUM_M * (1.3 if use == "source" else 1.0),
            color=COLOURS[use],
            wxyz=_orientation(camera),
            position=camera.position.numpy(),
        )
        self.server.scene.add_label(f"/cameras/{camera_id}/label", self._label(camera_id))
        handle.on_click(lambda _: self._choose(camera_id))
        return handle

    def _choose(self, camera: int) -> None:
        _set(self.camera, self._label(camera))

    def _look_through(self, event: viser.GuiEvent[Any]) -> None:
        chosen = self._chosen()
        view = self._view(chosen.camera, chosen.index)
        if event.client is None or not isinstance(view, View):
            return
        _set(self.images, value=False)  # its own would hide the people
        with event.client.atomic():
            event.client.camera.wxyz = _orientation(view.camera)
            event.client.camera.position = view.camera.position.double().numpy()
            event.client.camera.fov = _vertical_fov(view.camera)

    def _place_visitors(self) -> None:
        """Have everyone who opens the page begin near the source camera, looking at the people."""
        people, view = self.scene.bounds, self._view(self.scene.source, 0)
        start = self.server.initial_camera
        if isinstance(view, View):
            away = view.camera.position - people.center
            aside = 0.5 * torch.linalg.cross(people.up, away) + 0.3 * away.norm() * people.up
            start.position = (people.center + 1.2 * away + aside).numpy()
        start.look_at, start.up, start.fov = people.center.numpy(), people.up.numpy(), FOV

    def _show(self, chosen: Choice) -> None:
        _set(self.number, str(self.scene.frames[chosen.index]))
        with self.server.atomic():
            for name, handle in self.splats.items():
                handle.visible = name == chosen.people
            self.splats[chosen.people].set_gaussians(*self._splats(chosen.people, chosen.index))
        self._show_images()

    def _show_images(self) -> None:
        for camera, handle in self._frusta.items():
            handle.image = self._thumbnail(camera, self.frame.value) if self.images.value else None

    def _thumbnail(self, camera: int, index: int) -> Array | None:
        """Return a small image of a view; None where it can't be read."""
        if (camera, index) not in self._thumbnails:
            if len(self._thumbnails) >= MOST_THUMBNAILS:
                self._thumbnails.clear()
            view = self._view(camera, index)
            self._thumbnails[camera, index] = _small(view) if isinstance(view, View) else None
        return self._thumbnails[camera, index]

    def _view(self, camera: int, index: int) -> View | str:
        """Return a view, or why it can't be read."""
        try:
            return self.scene.readers[camera].view(camera, index)
        except SceneDataError as error:
            return str(error)

    def _draw(self, camera: int, index: int) -> None:
        """Draw target beside renders in the panel, with their PSNR below."""
        started = time.monotonic()
        view = self._view(camera, index)
        if isinstance(view, str):
            self.caption.content = view
            return
        renders = {
            name: shown_render(model, view, self.scene.config)
            for name, model in self.scene.models.items()
        }
        tiles = [tile(to_pil_image(view.image)), *(render.tile for render in renders.values())]
        titles = ["target", *renders]
        self.picture.image = np.asarray(image_grid(titles, {"": tiles}, tiles[0].width // 8))
        numbers = {name: render.psnr for name, render in renders.items()}
        self.caption.content = _caption(self._label(camera), self.scene.frames[index], numbers)
        self._picture_s = time.monotonic() - started


def _about(scene: ViewedScene) -> str:
    frames = f"{len(scene.frames)} frames, {len(scene.readers)} cameras"
    if scene.epoch is None:
        return f"{frames}. Not trained: the people are those that training starts from."
    exp_name = scene.config.shared.exp_name
    return f"{frames}. Experiment `{exp_name}` after {scene.epoch} epochs."


def _caption(camera: str, frame: int, psnr: Mapping[str, float | None]) -> str:
    numbers = [f"PSNR {name} {value:.1f} dB" for name, value in psnr.items() if value is not None]
    return ", ".join([f"camera {camera}", f"frame {frame}", *numbers])


def _small(view: View) -> Array:
    image = to_pil_image(view.image)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _vertical_fov(camera: Camera) -> float:
    return 2 * math.atan(0.5 * camera.height / float(camera.intrinsics[1, 1]))


def _orientation(camera: Camera) -> Array:
    """Return a camera's orientation in the world as a quaternion, wxyz."""
    return SO3.from_matrix(camera.viewmat[:3, :3].T.double().numpy()).wxyz


def _set(control: Any, value: object) -> None:
    """Set a control's value; viser's types declare it without its setter."""
    control.value = value
