"""`training-scheduler view`: what it says and refuses before anything is loaded."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from preprocess.faults import FaultsError
from training.viewer import command


def test_an_unknown_scene_is_refused_with_the_nearest_name(capsys):
    """Exit status 2, nothing is loaded."""
    pytest.importorskip("viser")
    assert command.view(["synthetic_pair01_wav"]) == 2
    said = capsys.readouterr().err
    assert "synthetic_pair01_wav" in said
    assert "did you mean synthetic_pair01_wave" in said
    assert said.count("\n") == 2  # and the remedy below it


def test_what_names_no_experiment_is_refused(capsys):
    """By the flag that was given; a sweep's setting is one."""
    assert command.view(["synthetic_pair01_wave", "--exp-name", "../it's"]) == 2
    assert "--exp-name is not valid" in capsys.readouterr().err
    assert command.ViewOptions(scene="a", exp_name="sweep/epochs=30").exp_name


def test_without_viser_one_line_says_how_to_get_it(monkeypatch, capsys):
    """Before the scene is looked for."""
    installed = SimpleNamespace()
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "viser" else installed)
    assert command.view(["synthetic_pair01_wave"]) == 2
    said = capsys.readouterr().err
    assert "viser is not installed" in said
    assert "pip install '.[viewer]'" in said
    assert said.count("\n") == 2  # and the remedy below it


def test_a_taken_port_is_passed_over_with_a_word():
    """The next free one is used; the address and the way there from elsewhere follow."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1]
        if wanted > 65000:
            pytest.skip("the last ports")
        port = command.free_port("127.0.0.1", wanted)
    assert port > wanted
    said = command.served_text("127.0.0.1", port, wanted).splitlines()
    assert said[0] == f"port {wanted} is taken: using {port}"
    assert said[1].split()[0] == f"http://127.0.0.1:{port}"
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in said[2]


def test_an_address_of_another_machine_is_refused():
    """With the value and a remedy; of an IPv6 address the brackets are written."""
    with pytest.raises(FaultsError, match=r"can't serve at --host: 203\.0\.113\.1"):
        command.free_port("203.0.113.1", 8080)
    assert command.served_text("::1", 8080, 8080).startswith("http://[::1]:8080 ")
    assert "everyone" in command.served_text("0.0.0.0", 8080, 8080)


def test_what_is_shown_without_a_trained_model_is_said(tmp_path):
    """Where the experiment is misspelt, the nearest that has trained the scene is named."""
    assert "--exp-name" in command.untrained_line("a", "", tmp_path)
    assert "no experiment has trained it" in command.untrained_line("a", "exp", tmp_path)
    checkpoint = tmp_path / "a" / "my_exp" / "checkpoints" / "last.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert "did you mean my_exp?" in command.untrained_line("a", "my_xp", tmp_path)
