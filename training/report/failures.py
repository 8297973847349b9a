"""What has failed, in lines for a terminal: one for each cause, then messages and logs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from preprocess.faults import MOST_NAMES, counted
from training.records.scene_state import SceneState
from training.system.colours import painted

MOST_FAILURES = 5
"""Failed scenes of a cause shown with message and log; hundreds mostly fail for one reason."""


def failure_lines(scenes: Iterable[SceneState], most: int = MOST_FAILURES) -> list[str]:
    """Return for each cause how many scenes failed by it or were cancelled, and which.

    Below it the messages and logs of `most` of them, and where the others' logs are.
    """
    groups: dict[tuple[str, str], list[SceneState]] = {}
    for each in scenes:
        if each.state in {"failed", "cancelled"}:
            groups.setdefault((each.state, each.cause), []).append(each)
    return [
        line
        for (state, cause), group in groups.items()
        for line in [_summary(state, cause, group), *_details(state, group, most)]
    ]


def _summary(state: str, cause: str, group: Sequence[SceneState]) -> str:
    names = [each.scene for each in group[:MOST_NAMES]] + ["…"] * (len(group) > MOST_NAMES)
    why = f" ({cause})" if cause else ""
    return f"{counted(len(group), 'scene')} {painted(state, state)}{why}: {', '.join(names)}"


def _details(state: str, group: Sequence[SceneState], most: int) -> list[str]:
    if state != "failed":
        return []
    lines = []
    for each in group[:most]:
        lines += [f"    {each.scene}: {each.message}"] if each.message else []
        lines += [f"    log: {each.log}"]
    if len(group) > most:
        first = group[most]
        setting, _, name = first.scene.rpartition("/")
        logs = str(first.log).replace(name, "<scene>")
        logs = logs.replace(setting, "<setting>") if setting else logs
        lines += [f"    … and {len(group) - most} more, logs: {logs}"]
    return lines
