"""Prefect's own UI in a real browser: the form, what it refuses, and the page of a run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from prefect_ui import PrefectUI, chromium, missing

from flows.form import ONLY_ON_SLURM
from flows.parameters import FIELDS, title_of

STAND_IN = Path(__file__).resolve().parents[1] / "stand_in_trainer.py"
PICTURES = os.environ.get("TS_SCREENSHOTS", "")
COMPLETED = (33, 157, 75)  # a scene's bar in the graph
GRAPH = "//canvas"


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    if lacks := missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(lacks)
    with chromium(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture(scope="module")
def ui(driver, place):
    """The UI of the served place after logging in."""
    place.ensure_running()
    made = PrefectUI(driver, place.url.removesuffix("/api"))
    made.log_in(place.password)
    return made


def count_runs(served) -> int:
    return served.ask("POST", "/flow_runs/count").json()


def see_graph(ui) -> None:
    """Wait for the graph of a run, on a page that was opened after the run's end."""
    ui.until(lambda: COMPLETED in ui.colours(GRAPH), "the graph's bars")


def fill_in(ui, served, exp_name: str) -> None:
    """Open the form and fill in what a run of the stand-in trainer on the two scenes needs."""
    ui.open_form("local")
    ui.fill("Experiment", exp_name)
    ui.fill("Scene files", str(served.root / "registry"))
    ui.fill("Scenes at once", "2")
    ui.fill("Train script", str(STAND_IN))


@pytest.mark.usefixtures("served")
def test_the_form_is_in_the_order_of_use(ui):
    """What concerns the deployment, in boxes what few need; a menu of the scenes that there are."""
    ui.open_form("local")
    shown = [label.removesuffix(" (Optional)") for label in ui.labels()]
    titles = [title_of(name) for name in FIELDS if name not in ONLY_ON_SLURM | {"cluster"}]
    assert [label for label in shown if label in titles] == titles
    assert {"Epochs", "Seed", "Quality"} <= set(shown)
    assert not {"Partition", "Interface", "Cluster"} & set(shown)
    workers = ui.field("Scenes at once")
    assert [workers.get_attribute(each) for each in ("type", "min", "max")] == [
        "number",
        "0",
        "1024",
    ]
    ui.choose("Quality", "quick look")
    assert ui.field("Quality").text == "quick look"
    assert ui.field("Time limit").get_attribute("value") == "1-00:00:00"
    ui.choose("Scenes", "synthetic_pair01_hug")
    ui.see("//form//*[normalize-space()='synthetic_pair01_hug']")


def test_a_wrong_value_is_refused_at_its_field(ui, served):
    """And no run is made."""
    before = count_runs(served)
    fill_in(ui, served, "a/b")
    ui.fill("Time limit", "soon")
    ui.add_row("Overrides", "seed")
    ui.click("Submit")
    assert "letters, digits" in ui.complaint("Experiment")
    assert "e.g. 3:00:00" in ui.complaint("Time limit")
    assert "key=value, e.g. seed=1" in ui.complaint("Overrides")
    assert count_runs(served) == before


def test_a_run_from_the_form_has_its_page(ui, served):
    """Completed; the graph has edges from both scenes into the aggregate; a table of the scenes."""
    fill_in(ui, served, "from_the_form")
    ui.fill_name("typed by me")
    ui.fill("Seed", "3")
    ui.add_row("Overrides", "do=ok")
    ui.submit()
    run = ui.view_run()
    with ui.page_closed():
        served.ended(run)
    ui.shows_state("Completed")
    made = served.ask("GET", f"/flow_runs/{run}").json()
    assert made["parameters"]["overrides"] == ["do=ok"]
    assert made["name"] == "typed by me"
    lines = served.ask("POST", "/logs/filter", logs={"flow_run_id": {"any_": [run]}}).text
    assert "--overrides seed=3 do=ok" in lines
    assert made["state"]["message"] == "2 of 2 scenes done"
    nodes = dict(served.ask("GET", f"/flow_runs/{run}/graph-v2").json()["nodes"])
    into = {node["label"]: [each["id"] for each in node["parents"]] for node in nodes.values()}
    assert sorted(nodes[each]["label"] for each in into["aggregate"]) == ["a_1", "a_2"]
    its_own = {"task_run_id": {"any_": into["aggregate"]}}
    pages = served.ask("POST", "/artifacts/filter", artifacts=its_own).json()
    assert sorted(page["data"].split("\n")[0] for page in pages) == ["# a_1: done", "# a_2: done"]
    see_graph(ui)
    ui.click("Artifacts")
    ui.open_artifact("scenes")
    rows = ui.table()
    assert [(row["scene"], row["state"]) for row in rows] == [("a_1", "done"), ("a_2", "done")]


def test_what_only_the_flow_can_refuse_is_told_in_words(ui, served, eventually):
    """The run is Failed, not crashed, and says what is wrong and the nearest right key.

    Its log ends with the same in as many lines, without Prefect's traceback.
    """
    ui.open_form("local")
    ui.fill("Experiment", "refused")
    ui.add_row("Overrides", "train.optimization.epoch=3")
    ui.submit()
    run = ui.view_run()
    ui.shows_state("Failed")
    told = "Failed: nothing was started: an override names a key"
    eventually(lambda: served.log(run)[-1].startswith(told), "the last line of the log")
    assert "\n    -> did you mean train.optimization.epochs" in served.log(run)[-1]
    assert "Traceback" not in "".join(served.log(run))
    ui.click("Details")
    ui.until(lambda: ui.says("nothing was started"), "the message")
    assert ui.says("did you mean train.optimization.epochs")
    ui.click("Artifacts")
    ui.see("//a[contains(@href, '/artifacts/artifact/')][contains(., 'refused-refused')]").click()
    ui.until(lambda: ui.says("Nothing was started: 1 to correct"), "all that is wrong")


def test_without_a_browser_one_line_says_what_is_missing(monkeypatch):
    """The tests above are skipped with it, and fail with it where CI is set."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert missing().endswith("apt-get install --no-install-recommends chromium chromium-driver")


@pytest.mark.skipif(not PICTURES, reason="make screenshots makes them")
@pytest.mark.timeout(1800)
def test_screenshots_for_the_docs(ui, served):
    """The form, a run's page and the report, of the bundled scenes, really trained."""
    folder = Path(PICTURES)
    folder.mkdir(parents=True, exist_ok=True)
    ui.open_form("local")
    ui.fill("Experiment", "first_look")
    ui.add_row("Overrides", "train.optimization.epochs=20")
    ui.fill("Scenes at once", "2")
    ui.driver.execute_script("arguments[0].blur(); scrollTo(0, 0)", ui.field("Scenes at once"))
    ui.screenshot(folder / "form.png")
    ui.submit()
    run = ui.view_run()
    with ui.page_closed():
        served.ended(run, 1500)
    ui.shows_state("Completed")
    see_graph(ui)
    ui.click("Artifacts")
    ui.see("//a[contains(., '-report-')]")
    ui.screenshot(folder / "run.png")
    ui.open_artifact("scenes")
    ui.see("//table")
    ui.screenshot(folder / "scenes_artifact.png")
    report = served.root / "results" / "_experiments" / "first_look" / "report.html"
    ui.driver.get(report.as_uri())
    ui.see("//img")
    ui.screenshot(folder / "report.png")


def test_kill_9_leaves_nothing_running(end_of_all):
    """The end of what the tests of this file have used, so that none is started for it alone."""
    assert end_of_all(signal.SIGKILL) == -signal.SIGKILL
