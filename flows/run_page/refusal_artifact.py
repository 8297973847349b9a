"""What the page of a refused run shows: everything that is wrong, in the form's words."""

from __future__ import annotations

import re

from flows.options import FlowOptions
from flows.parameters import FIELDS, full_title_of
from flows.run_page.content import clean
from preprocess.faults import FaultsError, grouped
from training.plan.options import flag_name
from training.report.markdown import escaped

FIELD_OF = {flag_name(name, FlowOptions): name for name in FIELDS}
FLAG = re.compile(r"(?<![\w.-])--[a-z][a-z.-]*[a-z]")


def refusal_artifact(exp_name: str, error: FaultsError) -> tuple[str, str, str, str]:
    """Return key, kind, description and text of the artifact of a run that was refused."""
    words = re.sub(r"[^a-z0-9]+", "-", exp_name.lower())[:80].strip("-")
    key = f"{words}-refused".lstrip("-")
    return key, "markdown", f"experiment {exp_name}: nothing was started", refusal(error)


def refusal(error: FaultsError) -> str:
    """Return all faults as Markdown."""
    faults = list(grouped(error.faults))
    lines = [f"# Nothing was started: {len(faults)} to correct", ""]
    for fault in faults:
        shown = f"**{_worded(fault.what)}**" + (f": {_worded(fault.value)}" if fault.value else "")
        lines += [f"- {shown}", *([f"  - {_worded(fault.remedy)}"] if fault.remedy else [])]
    again = "Correct them with *Copy to new run* in the run's menu."
    return clean("\n".join([*lines, "", again]))


def _worded(text: str) -> str:
    """Return text as Markdown, with the titles of the form's fields in place of flags."""
    return escaped(FLAG.sub(lambda match: _title(match[0]), text))


def _title(flag: str) -> str:
    name = FIELD_OF.get(flag.replace("--no-", "--"))
    return f'"{full_title_of(name)}"' if name else flag
