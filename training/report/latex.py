"""Write a table as LaTeX, for a paper that loads the package booktabs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training.report.blocks import Table

NEEDS = "% needs \\usepackage{booktabs}"
ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}
SPECIAL = re.compile("|".join(map(re.escape, ESCAPES)))


def to_latex(table: Table) -> str:
    """Return a table as a `tabular` with rules of booktabs; texts are escaped, signs are minus."""
    numbers = len(table.head) - table.text_columns
    lines = [
        NEEDS,
        rf"\begin{{tabular}}{{{'l' * table.text_columns}{'r' * numbers}}}",
        r"\toprule",
        _line(table.head),
        r"\midrule",
        *map(_line, table.lines),
        *([r"\midrule", *map(_line, table.foot)] if table.foot else []),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Return text in which nothing is a command of LaTeX's, in one line."""
    return SPECIAL.sub(lambda found: ESCAPES[found[0]], " ".join(text.split()))


def _line(cells: Sequence[str]) -> str:
    return " & ".join(_cell(cell) for cell in cells) + r" \\"


def _cell(text: str) -> str:
    """Return a cell; a number's sign is set as in mathematics."""
    if re.fullmatch(r"[+-]\d[\d.]*", text):
        return f"${text}$"
    return escaped(text)
