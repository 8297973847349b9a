"""Return what was measured as Markdown, for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.runner import Finding
from benchmarks.subject import Aim, Row, Subject, best_of
from preprocess.faults import counted

TIMES = "\N{MULTIPLICATION SIGN}"
LEVEL = 1.05
"""Up to this ratio two medians count as level."""
NOT_EXPLAINED = "not explained yet"


@dataclass(frozen=True)
class Verdict:
    """How one of ours stands beside the best peer in a quantity; `factor` over 1 is ahead."""

    subject: Subject
    name: str
    ours: Row
    peer: Row
    factor: float

    @property
    def word(self) -> str:
        """Return ahead, level or behind."""
        if self.factor >= LEVEL:
            return "ahead"
        return "level" if self.factor > 1 / LEVEL else "behind"

    @property
    def why(self) -> str:
        """Return the subject's reason where ours is not ahead."""
        if self.word == "ahead":
            return ""
        why = self.subject.why
        return why.get(self.name) or why.get(self.ours.variant) or NOT_EXPLAINED


def render(
    found: Sequence[Finding],
    subjects: Mapping[str, Subject],
    machine: Mapping[str, str],
    introduction: str,
) -> str:
    """Return the page, which begins with the introduction."""
    pairs = [(subjects[each.name], each) for each in found if each.name in subjects]
    parts = [introduction, _machine(machine)]
    if verdicts := [each for pair in pairs for each in verdicts_of(*pair)]:
        parts.append(_standing(verdicts))
    if aims := [*_measured_aims(pairs)]:
        parts.append(_aims(aims))
    parts += [_section(subject, each) for subject, each in pairs]
    return "\n".join(parts)


def verdicts_of(subject: Subject, found: Finding) -> list[Verdict]:
    """Return a verdict for each of ours in each quantity that a peer was measured in, too."""
    verdicts = []
    for ours in found.rows:
        peer = best_of(found.rows, ours.name, "peer")
        if ours.role == "ours" and ours.samples and peer:
            verdicts.append(Verdict(subject, ours.name, ours, peer, _factor(ours, peer)))
    return verdicts


def _factor(ours: Row, peer: Row) -> float:
    lower, higher = (ours, peer) if ours.better == "lower" else (peer, ours)
    if lower.median:
        return higher.median / lower.median
    return float("inf") if higher.median else 1.0


def _machine(machine: Mapping[str, str]) -> str:
    rows = "\n".join(map(_line, machine.items()))
    return f"## Where and with what\n\n| | |\n|---|---|\n{rows}\n"


def _standing(verdicts: Sequence[Verdict]) -> str:
    """Return what is ahead of the best peer, what is not and why."""
    lines = ["## Ahead, level, behind", ""]
    lines += ["| what | ours | best peer | |", "|---|---|---|---|"]
    reasons: dict[str, list[str]] = {}
    for each in verdicts:
        finite = each.word != "level" and 0 < each.factor < float("inf")
        factor = f" {_times(each.factor)}" if finite else ""
        if each.why:
            reasons.setdefault(each.why, []).append(f"{each.name} ({each.ours.variant})")
        cells = [
            f"{each.subject.title}: {each.name}",
            f"{_number(each.ours)} ({each.ours.variant})",
        ]
        cells += [f"{_number(each.peer)} ({each.peer.variant})", f"{each.word}{factor}"]
        lines.append(_line(cells))
    return "\n".join([*lines, *_reasons(reasons)])


def _reasons(reasons: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the lines below a table: each reason once, with what it explains."""
    yield ""
    for why, of in reasons.items():
        yield f"- *{', '.join(dict.fromkeys(of))}*: {why}"
    yield ""


def _times(factor: float) -> str:
    return f"{max(factor, 1 / factor):.2f} {TIMES}"


def _measured_aims(
    pairs: Iterable[tuple[Subject, Finding]],
) -> Iterator[tuple[Subject, Aim, float]]:
    for subject, found in pairs:
        for aim in subject.aims:
            if (value := aim.value(found.rows)) is not None:
                yield subject, aim, value


def _aims(aims: Iterable[tuple[Subject, Aim, float]]) -> str:
    """Return what is within its limit, and what is not and why."""
    lines = ["## Aims", "", "| what | measured | aim | |", "|---|---|---|---|"]
    reasons: dict[str, list[str]] = {}
    for subject, aim, value in aims:
        lines.append(_line([aim.text, f"{value:,.3g}", _limit(aim), _met(aim, value)]))
        if not aim.is_met(value):
            reasons.setdefault(subject.why.get(aim.text, NOT_EXPLAINED), []).append(aim.text)
    return "\n".join([*lines, *(_reasons(reasons) if reasons else [""])])


def _limit(aim: Aim) -> str:
    return f"at {'most' if aim.better == 'lower' else 'least'} {aim.limit:,g}"


def _met(aim: Aim, value: float) -> str:
    return "met" if aim.is_met(value) else "**not met**"


def _section(subject: Subject, found: Finding) -> str:
    lines = [f"## {subject.title}", "", subject.about, ""]
    rows = [row for row in found.rows if row.samples]
    if rows:
        lines += [*_table(rows), ""]
    for row in found.rows:
        if row.problem:
            lines += [f"{_failed(row, rows)}, {row.variant}: {row.problem}", ""]
    rounds = max((len(row.samples) for row in rows), default=0)
    command = f"`python -m benchmarks --only {subject.name}`"
    lines += [f"{command}; rounds: {rounds}; took {found.seconds:.0f} s.", ""]
    return "\n".join(lines)


def _failed(problem: Row, rows: Sequence[Row]) -> str:
    """Return what became of a variant that failed, in its first round or a later one."""
    done = max((len(row.samples) for row in rows if row.variant == problem.variant), default=0)
    return f"Given up after {counted(done, 'round')}" if done else "Not measured here"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a table with a line for each variant and a column for each quantity."""
    columns = {row.name: row for row in rows}
    heads = [f"{name}, {row.unit}" if row.unit else name for name, row in columns.items()]
    yield _line(["", *heads])
    yield "|" + "---|" * (len(heads) + 1)
    for variant in dict.fromkeys(row.variant for row in rows):
        line = {row.name: row for row in rows if row.variant == variant}
        role = next(iter(line.values())).role
        title = {"ours": f"**{variant}**", "peer": variant, "floor": f"*{variant}*"}[role]
        cells = [_cell(line[name], rows) if name in line else "" for name in columns]
        yield _line([title, *cells])


def _cell(row: Row, rows: Sequence[Row]) -> str:
    """Return median, least and most, and for another one's how many times ours."""
    text = _number(row, unit=False)
    if len(row.samples) > 1:
        text += f" ({_plain(min(row.samples))} to {_plain(max(row.samples))})"
    ours = best_of(rows, row.name, "ours")
    if ours and row.role != "ours" and ours.median:
        text += f", {row.median / ours.median:.2f} {TIMES}"
    return text


def _number(row: Row, *, unit: bool = True) -> str:
    return f"{_plain(row.median)} {row.unit}".strip() if unit else _plain(row.median)


def _plain(value: float) -> str:
    """Return three digits, and no exponent."""
    for least, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= least:
            return f"{value:,.{digits}f}"
    return f"{value:.3g}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
