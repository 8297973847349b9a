"""The options' one definition feeds the form and the page of flags too."""

from __future__ import annotations

import pytest

from flows.flags_page import PAGE, main, page
from flows.flow import difix_data, train_scenes
from flows.parameters import FIELDS

FORM = train_scenes.parameters.properties


def test_the_page_is_current():
    """Else `make docs` writes it anew."""
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_the_form_can_be_filled_in(name):
    """Its group and title, one sentence, and a default or an example; a number has its bounds."""
    field = FORM[name]
    group, _, title = field["title"].partition(": ")
    assert group in page()
    assert title[:1].isupper()
    assert "_" not in title
    assert field["description"].split(" E.g. ")[0].count(". ") == 0
    assert len(field["description"]) < 150
    assert "default" in field or name == "exp_name"
    assert field.get("default") not in (None, "", []) or " E.g. " in field["description"]
    assert field["type"] != "integer" or {"minimum", "maximum"} <= set(field)


def test_fields_of_a_group_stand_together():
    """In the order of use; both flows have one form."""
    groups = [field["title"].partition(":")[0] for field in FORM.values()]
    assert list(dict.fromkeys(groups)) == [
        "What to train",
        "How to run",
        "The trainer",
        "Folders",
        "Slurm",
        "Aggregate",
    ]
    assert sorted(groups, key=groups.index) == groups
    assert [field["position"] for field in FORM.values()] == list(range(len(FORM)))
    assert difix_data.parameters == train_scenes.parameters


def test_the_command_writes_the_page(tmp_path, monkeypatch, capsys):
    """And says where; a page that can't be written is exit status 2, without a traceback."""
    monkeypatch.setattr("flows.flags_page.PAGE", tmp_path / "flags.md")
    assert main() == 0
    assert (tmp_path / "flags.md").read_text(encoding="utf-8") == page()
    (tmp_path / "file").touch()
    monkeypatch.setattr("flows.flags_page.PAGE", tmp_path / "file" / "flags.md")
    assert main() == 2
    assert "can't be written" in capsys.readouterr().err
