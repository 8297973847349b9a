"""Write docs/flags.md from the options' definition: `python -m flows.flags_page`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from flows.options import FlowOptions
from flows.parameters import FIELDS, full_title_of
from preprocess.roots import CHECKOUT
from training.plan.options import LaunchOptions, flag_name, flag_of
from training.system.atomic_write import write_atomically
from training.system.console import say
from training.system.exit_status import DONE, USAGE

PAGE = CHECKOUT / "docs" / "flags.md"
HEAD = """# Flags and fields

Written by `make docs` from the options' definition; don't edit it.

Both commands take the same flags: `python training/run.py` (the launcher) and
`python -m flows.train` (the flow). The parameter is the name in `deployments/prefect.yaml` and in
Prefect's API, the field its title in the form, after the box that it lies in.
"""
LAUNCHER_ONLY = frozenset({"submit", "yes"})
FLOW_ONLY = frozenset(FlowOptions.model_fields) - frozenset(LaunchOptions.model_fields)
FLOW_ONLY |= {"slurm_scenes_per_job", "slurm_scenes_per_gpu", "slurm_probe", "orphan_grace"}


def page() -> str:
    """Return the whole page."""
    groups: dict[str, list[str]] = {}
    for name in _names():
        groups.setdefault(flag_of(name, FlowOptions).group, []).append(name)
    return "\n".join([HEAD, *(_section(group, names) for group, names in groups.items())])


def _names() -> Iterator[str]:
    """Yield the parameters in the form's order, then what only a command line takes."""
    yield from FIELDS
    yield from (name for name in FlowOptions.model_fields if name not in FIELDS)


def _section(group: str, names: list[str]) -> str:
    head = ["| flag | value | default | what it does | parameter, field |", "|---|---|---|---|---|"]
    return "\n".join([f"## {group}", "", *head, *map(_row, names), ""])


def _row(name: str) -> str:
    info = FlowOptions.model_fields[name]
    cells = (
        f"`{flag_name(name, FlowOptions)}`",
        _value(info),
        _default(info),
        f"{_description(name)} E.g. `{flag_of(name, FlowOptions).example}`",
        f"`{name}`, {full_title_of(name)}" if name in FIELDS else "",
    )
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _description(name: str) -> str:
    """Return what an option does, and which command has it unless both do."""
    text = " ".join((FlowOptions.model_fields[name].description or "").split())
    if name in FLOW_ONLY:
        return f"{text} Only `flows.train`."
    return f"{text} Only `training/run.py`." if name in LAUNCHER_ONLY else text


def _value(info: Any) -> str:
    if get_origin(info.annotation) is Literal:
        return " or ".join(f"`{each}`" for each in get_args(info.annotation))
    if info.annotation is int:
        low, high = (_bound(info, side) for side in ("ge", "le"))
        return f"{low} to {high}"
    return {bool: "", str: "text"}.get(info.annotation, "texts")


def _bound(info: Any, side: str) -> int:
    return next(int(getattr(each, side)) for each in info.metadata if hasattr(each, side))


def _default(info: Any) -> str:
    if info.is_required():
        return "required"
    if isinstance(info.default, bool):
        return "on" if info.default else "off"
    return f"`{info.default}`" if info.default not in ("", ()) else ""


def main() -> int:
    """Write the page; return exit status 2 if it can't be written."""
    try:
        write_atomically(PAGE, page())
    except OSError as error:
        say(f"{PAGE} can't be written: {error}", sys.stderr)
        return USAGE
    say(f"written: {PAGE}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
