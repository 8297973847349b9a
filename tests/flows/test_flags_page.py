"""The options' one definition feeds the form and the page of flags too."""

from __future__ import annotations

import pytest

from flows.flags_page import PAGE, main, page
from flows.flow import difix_data, train_scenes
from flows.parameters import BOX_OF, BOXES, FIELDS, IN_BOX, full_title_of

SCHEMA = train_scenes.parameters
FORM = SCHEMA.properties


def field_of(name: str):
    """An option's field in the form, in its box or not."""
    if name in FORM:
        return FORM[name]
    box = SCHEMA.definitions[FORM[BOX_OF[name]]["$ref"].rpartition("/")[2]]["properties"]
    return next(box[short] for short, field in IN_BOX[BOX_OF[name]].items() if field == name)


def test_the_page_is_current():
    """Else `make docs` writes it anew."""
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_the_form_can_be_filled_in(name):
    """Its title, one sentence, and a default or an example; a number has its bounds."""
    field = field_of(name)
    title = field["title"]
    assert f"`{name}`, {full_title_of(name)}" in page()
    assert full_title_of(name).endswith(title)
    assert title[:1].isupper()
    assert "_" not in title
    assert field["description"].split(" E.g. ")[0].count(". ") == 0
    assert len(field["description"]) < 150
    assert "default" in field or name == "exp_name"
    assert field.get("default") not in (None, "", []) or " E.g. " in field["description"]
    assert field["type"] != "integer" or {"minimum", "maximum"} <= set(field)


def test_boxes_come_last():
    """All flows have one form; what most runs need is not in a box, and first."""
    assert list(FORM)[-4:] == list(BOXES)
    assert next(iter(FORM)) == "exp_name"
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
