"""The menus of scenes follow the scene files, and nothing else of a deployment changes."""

from __future__ import annotations

import json

import httpx
import pytest

from deployments import scene_menus
from deployments.scene_menus import SceneMenus
from flows.server.external_api import ApiClient

SCENES = {"properties": {"scenes": {"items": {"type": "string"}}, "seed": {}}, "x-deployed": {}}


def add_scene(folder, name):
    (folder / f"{name}.json").write_text(json.dumps({"seq_name": name, "cam_id": 28}))


@pytest.fixture
def folder(tmp_path):
    add_scene(tmp_path, "a_1")
    return tmp_path


@pytest.fixture
def server(monkeypatch, folder):
    """What a server answers with and has been asked for; its deployments are changed by PATCH."""

    class Server:
        def __init__(self):
            self.status, self.asked = 200, 0
            self.schemas = {"own": SCENES, "elsewhere": SCENES, "wrong": SCENES}
            self.scenes_dir = {"own": str(folder), "elsewhere": str(folder / "none"), "wrong": 3}

        def answer(self, request: httpx.Request) -> httpx.Response:
            self.asked += 1
            if request.method == "PATCH":
                name = request.url.path.rpartition("/")[2]
                body = json.loads(request.content)
                assert body.keys() == {"parameter_openapi_schema"}
                if self.status == 200:
                    self.schemas = {**self.schemas, name: body["parameter_openapi_schema"]}
                return httpx.Response(self.status, json={"detail": "a_1 is used"})
            found = [
                {
                    "id": name,
                    "name": name,
                    "parameters": {"scenes_dir": self.scenes_dir[name]},
                    "parameter_openapi_schema": schema,
                }
                for name, schema in self.schemas.items()
            ]
            if self.status == 302:
                return httpx.Response(200, html="<p>please log in</p>")
            return httpx.Response(500 if self.status == 500 else 200, json=found)

        def menu(self, name="own"):
            return self.schemas[name]["properties"]["scenes"]["items"].get("enum")

    made = Server()
    transport = httpx.MockTransport(made.answer)
    client = lambda *_: ApiClient(base_url="http://server", transport=transport)  # noqa: E731
    monkeypatch.setattr(scene_menus, "api_client", client)
    monkeypatch.setattr(scene_menus, "CHECK_EVERY_S", 0)
    return made


def test_a_scene_that_is_added_or_removed_is_in_the_menu(server, folder):
    """The server is asked only after a change; the rest of the schema stays."""
    menus = SceneMenus({"PREFECT_API_URL": "http://server"})
    menus.refresh()
    assert server.menu() == ["a_1"]
    add_scene(folder, "a_2")
    menus.refresh()
    assert server.menu() == ["a_1", "a_2"]
    assert server.schemas["own"].keys() == SCENES.keys()
    asked = server.asked
    menus.refresh()
    assert server.asked == asked
    (folder / "a_1.json").unlink()
    menus.refresh()
    assert server.menu() == ["a_2"]
    assert server.schemas["elsewhere"] == server.schemas["wrong"] == SCENES


def test_a_menu_stays_while_a_scene_can_not_be_read(server, folder):
    """As in the middle of writing it."""
    menus = SceneMenus({"PREFECT_API_URL": "http://server"})
    menus.refresh()
    (folder / "a_2.json").write_text("{")
    menus.refresh()
    assert server.menu() == ["a_1"]
    add_scene(folder, "a_2")
    menus.refresh()
    assert server.menu() == ["a_1", "a_2"]


@pytest.mark.parametrize(("status", "warned"), [(409, 1), (500, 0), (302, 0)])
def test_a_refused_menu_is_said_once_and_a_failed_one_tried_again(server, capsys, status, warned):
    """Refused: its own parameters name a scene that is gone; failed also: a proxy's page."""
    menus = SceneMenus({"PREFECT_API_URL": "http://server"})
    server.status = status
    menus.refresh()
    menus.refresh()
    assert capsys.readouterr().err.count("the menu of scenes of own stays") == warned
    server.status = 200
    menus.refresh()
    assert server.menu() == (None if warned else ["a_1"])
