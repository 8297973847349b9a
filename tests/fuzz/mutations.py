"""Strategies that change something valid a little, to get past the first checks."""

from __future__ import annotations

import contextlib
import copy
import json
import signal
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

MOST_CPU_S = 20.0
"""Of one example; the slowest take well under a second."""
NASTY = (
    "",
    " ",
    "-x",
    "../../x",
    "/etc/passwd",
    "a;rm -rf /",
    "$(id)",
    "${oc.env:HOME}",
    "???",
    "a\nb",
    "a\0b",
    "\x1b[31m",
    "\ufeff",
    "\uff11\uff12",
    "²",
    "NaN",
    "1e999",
    "9" * 5000,
    "x" * 300,
    "ü→🙂",
    "0001-01-01T00:00:00",
    "9999-12-31T23:59:59+14:00",
)
"""Texts that programs have stumbled over."""
text = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.integers() | st.sampled_from([-1, 0, 2**31, 2**63, 10**400]) | st.floats()
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
"""Anything that JSON can hold, NaN and infinity as Python writes them included."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Raise TimeoutError where the block computes for longer than any right answer takes."""

    def end(*_: object) -> None:
        raise TimeoutError(f"no answer after {MOST_CPU_S} s of computing")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every value inside a nested one."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


@st.composite
def changed(draw: st.DrawFn, base: Any, most: int = 2) -> Any:
    """Return a copy of nested data with up to `most` of its values replaced, removed or renamed."""
    content = copy.deepcopy(base)
    for _ in range(draw(st.integers(0, most))):
        known = list(places(content))
        if not known:
            return draw(values)
        *parents, key = draw(st.sampled_from(known))
        node = content
        for each in parents:
            node = node[each]
        change = draw(st.sampled_from(["replace", "vary", "remove", "add"]))
        if change == "replace":
            node[key] = draw(values)
        elif change == "vary":
            node[key] = draw(varied(node[key]))
        elif change == "remove":
            del node[key]
        elif isinstance(node, dict):
            node[draw(text)] = node[key]
        else:
            node.append(node[key])
    return content


def varied(value: Any) -> st.SearchStrategy[Any]:
    """Values of the same type as one that is right."""
    if isinstance(value, bool):
        return st.just(not value)
    if isinstance(value, int | float):
        return numbers
    if isinstance(value, str):
        return edited(value) | text
    return values


@st.composite
def edited(draw: st.DrawFn, base: str, most: int = 3) -> str:
    """Return a text with parts cut out, repeated, exchanged or put in."""
    content = base
    for _ in range(draw(st.integers(0, most))):
        begin = draw(st.integers(0, len(content)))
        end = draw(st.integers(begin, min(len(content), begin + 20)))
        new = draw(st.sampled_from(["", content[begin:end] * 2, content[end : end + 20]]) | text)
        content = content[:begin] + new + content[end:]
    return content


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Return a file's bytes as they are, or cut off, in another encoding, or with bytes put in."""
    kind = draw(st.sampled_from(["whole"] * 4 + ["cut", "utf-16", "bytes", "deep"]))
    if kind == "cut":
        return content[: draw(st.integers(0, len(content)))]
    if kind == "utf-16":
        return content.decode("utf-8", errors="replace").encode("utf-16")
    if kind == "deep":
        return b"[" * 100_000
    if kind == "bytes":
        at = draw(st.integers(0, len(content)))
        return content[:at] + draw(st.binary(max_size=4)) + content[at:]
    return content


@st.composite
def json_files(draw: st.DrawFn, base: Any, most: int = 2) -> bytes:
    """Return the bytes of a JSON file that is nearly `base`."""
    content = draw(changed(base, most))
    written = json.dumps(content, ensure_ascii=draw(st.booleans()))
    return draw(damaged(written.encode("utf-8", errors="surrogatepass")))
