"""Many faults of a kind are one on the screen."""

from __future__ import annotations

from preprocess.faults import MOST_OF_A_KIND, Fault, FaultsError


def shown(faults: list[Fault]) -> list[str]:
    return str(FaultsError(faults)).splitlines()


def test_many_of_a_kind_are_shown_as_one() -> None:
    """The count, the first few, the common folder, the remedy once."""
    faults = [
        Fault(f"s_{number}: no depth at", f"/data/me/s_{number}/depth", "preprocess the scene")
        for number in range(2000)
    ]
    what, remedy = shown(faults)
    assert what.startswith("2000 times, all below /data/me: no depth at: /data/me/s_0/depth, ")
    assert what.endswith(", …")
    assert what.count("/depth") == 3
    assert remedy == "    -> preprocess the scene"


def test_kinds_stay_apart_and_few_are_shown_whole() -> None:
    """Other words or another remedy are another kind."""
    few = [Fault(f"s_{n}: no depth at", f"/d/{n}", "x") for n in range(MOST_OF_A_KIND)]
    other = [Fault(f"s_{n}: no masks at", f"/d/{n}", "x") for n in range(MOST_OF_A_KIND)]
    third = [Fault(f"s_{n}: no masks at", f"/d/{n}", "y") for n in range(MOST_OF_A_KIND)]
    assert len(shown([*few, *other, *third])) == 6 * MOST_OF_A_KIND
    assert len(FaultsError(few * 3).faults) == 3 * MOST_OF_A_KIND


def test_files_and_names_inside_a_message_are_no_other_kind() -> None:
    """Of broken scene files, and of scenes whose camera clashes."""
    broken = [Fault(f"/reg/{n}.json is not JSON", f"line {n}", "write {}") for n in range(9)]
    clash = [
        Fault(f"a camera has the id of s_{n}'s camera", f"{n} is in 0..9", "z") for n in range(9)
    ]
    lines = shown([*broken, *clash])
    assert len(lines) == 4
    assert lines[0].startswith("9 times, all below /reg: … is not JSON: /reg/0.json is not JSON: ")
    assert "the id of … camera" in lines[2]
    assert "s_2's camera: 2 is in 0..9" in lines[2]


def test_what_many_files_have_in_common_is_said_once() -> None:
    """After the kind come the files alone."""
    faults = [Fault(f"/data/me/{n}.png: No such file; expected a mask") for n in range(9)]
    (line,) = shown(faults)
    files = "/data/me/0.png, /data/me/1.png, /data/me/2.png, …"
    assert line == f"9 times, all below /data/me: No such file; expected a mask: {files}"
