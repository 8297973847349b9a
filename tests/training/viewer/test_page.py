"""The viewer in a real browser: people are drawn, and what is chosen there is shown."""

from __future__ import annotations

import io
import threading

import numpy as np
import prefect_ui
import pytest
import torch
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from two_people import camera, make_scene

from preprocess.scene_data import SceneDataError
from training.trainer.cameras.strategies import people_bounds
from training.trainer.cameras.view import View
from training.trainer.config.compose import load_config
from training.trainer.gaussians.body_parameters import BodyParameters
from training.viewer.viewed_scene import ViewedScene

LACKING = prefect_ui.missing()
pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(LACKING), reason=LACKING)]
FRAMES = [1, 2, 5]
PATIENCE_S = 60
RED = torch.tensor([4.0, -4.0, -4.0])  # logits


class Views:
    """What one camera sees: a grey image, and nothing of the last frame."""

    def view(self, camera_id, index):
        if index == 2:
            raise SceneDataError("frame 5 has no image")
        seen = camera()
        image = torch.full((seen.height, seen.width, 3), 0.5)
        masks = torch.ones(seen.height, seen.width, 2)
        return View(camera_id, FRAMES[index], index, seen, image, masks, None)


def walking_people():
    """Two people who stand in another place in each of three frames."""
    model = make_scene()
    poses = model.poses
    trans = poses.first_trans + torch.tensor([[[0.0, 0, 0]], [[0, 0.3, 0]], [[0, 0.6, 0]]])
    parameters = BodyParameters(poses.betas.detach(), poses.first_pose.expand(3, -1, -1, -1), trans)
    return model.with_bodies(model.body, parameters)


@pytest.fixture
def page():
    """A page of two grey people who become red, served while the test runs."""
    viser = pytest.importorskip("viser")
    from training.viewer.page import ViewerPage

    config = load_config(["shared.scene_name=a", "shared.exp_name=e"])
    before, after = walking_people(), walking_people()
    with torch.no_grad():
        after.gaussians.colors[:] = RED
        joints = before.joints(torch.arange(3))
    scene = ViewedScene(
        name="a",
        config=config,
        frames=FRAMES,
        source=28,
        held_out=(4,),
        readers={4: Views(), 28: Views()},
        models={"before": before, "after": after},
        bounds=people_bounds(joints, config.train.nv_generation.trn_nv_gen.runtime_camera),
        epoch=3,
    )
    server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    shown, stop = ViewerPage(server, scene), threading.Event()
    thread = threading.Thread(target=shown.run, args=(stop,))
    thread.start()
    yield shown
    stop.set()
    thread.join()
    server.stop()


def test_people_are_drawn_and_the_slider_moves_them(page, tmp_path):
    """Red after training, grey before; a frame without an image is said; and playing goes on."""
    with prefect_ui.chromium(tmp_path) as driver:
        wait = WebDriverWait(driver, PATIENCE_S, 0.2)
        driver.get(f"http://127.0.0.1:{page.server.get_port()}")
        reds = wait.until(lambda _: reddish(driver) > 500 and reddish(driver))
        height = mean_height(page)
        slider = driver.find_elements(By.XPATH, "//*[@role='slider']")[0]
        slider.send_keys(Keys.ARROW_RIGHT)
        wait.until(lambda _: page.shown.index == 1)
        assert page.number.value == "2"
        assert mean_height(page) - height == pytest.approx(0.3, abs=1e-5)
        assert "camera 4 (held out), frame 2, PSNR before" in page.caption.content
        slider.send_keys(Keys.ARROW_RIGHT)
        wait.until(lambda _: page.caption.content == "frame 5 has no image")
        page.people.value = "before"
        wait.until(lambda _: reddish(driver) < reds / 10)
        page.play.value = True
        wait.until(lambda _: page.shown.index == 1)


def mean_height(page):
    """Return how high the red people stand who were sent to the browser, metres."""
    return page.splats["after"].centers[:, 1].mean()


def reddish(driver):
    """Return the number of red pixels that the canvas shows."""
    canvas = driver.find_elements(By.TAG_NAME, "canvas")
    if not canvas:
        return 0
    shot = Image.open(io.BytesIO(canvas[0].screenshot_as_png)).convert("RGB")
    red, green, blue = np.moveaxis(np.asarray(shot, dtype=int), -1, 0)
    return int(((red > 150) & (green < 80) & (blue < 80)).sum())
