"""Write a report as one HTML page that holds its style and its pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from training.report.blocks import (
    Block,
    Code,
    Document,
    Fact,
    Facts,
    Heading,
    Item,
    Items,
    Picture,
    SideBySide,
    Table,
    Text,
)
from training.report.plots.thumbnails import data_uri, smaller

WIDEST = 1200
"""Greatest width of a scene's picture in pixels; plots stay as they are."""
GALLERY = "pictures"
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
STYLE = """
:root { color-scheme: light; --ink: #1b2430; --soft: #5b6675; --line: #dfe4ea; --bad: #b3372a;
  --paper: #fff; --wash: #f6f7f9; }
@media screen and (prefers-color-scheme: dark) { :root { color-scheme: dark; --ink: #e4e9ef;
  --soft: #9ba8b7; --line: #313b47; --bad: #e8705f; --paper: #14191f; --wash: #1d242c; }
  .plot img { border-radius: .3rem; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 70rem; color: var(--ink);
  background: var(--paper);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .6rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
p { margin: .3rem 0 .8rem; overflow-wrap: anywhere; }
.facts { display: grid; gap: .7rem; margin: 0 0 1rem;
  grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.fact { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; }
.fact dt, .fact small { color: var(--soft); font-size: .8rem; font-weight: 400; display: block;
  margin: 0; }
.fact dd { margin: 0; font-size: 1.35rem; font-weight: 600; line-height: 1.35; }
.items { list-style: none; margin: 0; padding: 0; }
.items li { border-left: 4px solid var(--bad); padding: .1rem 0 .1rem .8rem; margin: 0 0 .7rem;
  break-inside: avoid; overflow-wrap: anywhere; }
pre { margin: .2rem 0 1rem; padding: .4rem .6rem; background: var(--wash); border-radius: .3rem;
  font-size: .82rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.items pre { margin-bottom: 0; }
.wide { overflow-x: auto; margin-bottom: 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .84rem; white-space: nowrap; }
th, td { padding: .28rem .55rem; text-align: left; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom; }
td.number { white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
thead th { border-bottom: 2px solid var(--ink); }
tfoot td { font-weight: 600; background: var(--wash); }
figure { margin: 0 0 1.8rem; break-inside: avoid; }
figcaption { color: var(--soft); font-size: .85rem; }
img { display: block; max-width: 100%; height: auto; margin-top: .4rem; }
.pictures { display: grid; gap: 0 1.2rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); }
.side { grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
.picture img { border: 1px solid var(--line); border-radius: .3rem; }
@media (max-width: 40rem) { body { font-size: 14px; padding: 1rem .8rem 2rem; }
  th, td { padding: .25rem .45rem; }
  .plot { overflow-x: auto; } .plot img { max-width: none; width: 44rem; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; }
  table { white-space: normal; font-size: 7.5pt; } th, td { padding: .15rem .35rem; }
  .wide { overflow: visible; } thead { display: table-header-group; }
  tfoot { display: table-row-group; } tr { break-inside: avoid; } h2, h3 { break-after: avoid; } }
@page { margin: 14mm; }
"""


def to_html(document: Document, on_fault: Callable[[str], None]) -> str:
    """Return the page.

    A picture that can't be read is left out, and `on_fault` is called with the reason.
    """
    html = Element("html", lang="en")
    head = SubElement(html, "head")
    SubElement(head, "meta", charset="utf-8")
    SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    _add(head, "title", document.title)
    style = SubElement(head, "style")
    style.text = STYLE
    body = SubElement(html, "body")
    _add(body, "h1", document.title)
    for block in document.blocks:
        _add_block(body, block, on_fault)
    return "<!DOCTYPE html>\n" + tostring(html, encoding="unicode", method="html") + "\n"


def _add(parent: Element, tag: str, text: str = "", css: str = "") -> Element:
    """Add an element with a text, which is escaped when the page is written."""
    element = SubElement(parent, tag, {"class": css} if css else {})
    element.text = UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    return element


def _add_block(body: Element, block: Block, on_fault: Callable[[str], None]) -> None:
    match block:
        case Heading(text):
            _add(body, "h2", text)
        case Text(text):
            _add(body, "p", text)
        case Code(text):
            _add(body, "pre", text)
        case Facts(facts):
            _add_facts(body, facts)
        case Items(items):
            _add_items(body, items)
        case Table():
            _add_table(body, block)
        case Picture():
            parent = body if block.is_plot else _gallery(body)
            _add_picture(parent, block, on_fault)
        case SideBySide(title, pictures):
            _add(body, "h3", title)
            row = _add(body, "div", css="pictures side")
            for picture in pictures:
                _add_picture(row, picture, on_fault)


def _add_facts(body: Element, facts: Sequence[Fact]) -> None:
    box = _add(body, "dl", css="facts")
    for fact in facts:
        card = _add(box, "div", css="fact")
        _add(card, "dt", fact.name)
        value = _add(card, "dd", fact.value)
        if fact.note:
            _add(value, "small", fact.note)


def _add_items(body: Element, items: Sequence[Item]) -> None:
    box = _add(body, "ul", css="items")
    for item in items:
        line = _add(box, "li")
        name = _add(line, "strong", item.name)
        name.tail = UNPRINTABLE.sub("", f" {item.text}")
        if item.detail:
            _add(line, "pre", item.detail)


def _add_table(body: Element, table: Table) -> None:
    element = _add(_add(body, "div", css="wide"), "table")
    _add_lines(_add(element, "thead"), "th", [table.head], table.text_columns)
    _add_lines(_add(element, "tbody"), "td", table.lines, table.text_columns)
    if table.foot:
        _add_lines(_add(element, "tfoot"), "td", table.foot, table.text_columns)


def _add_lines(parent: Element, tag: str, lines: Sequence[Sequence[str]], texts: int) -> None:
    for line in lines:
        row = _add(parent, "tr")
        for place, cell in enumerate(line):
            _add(row, tag, cell, "number" if place >= texts else "")


def _add_picture(parent: Element, picture: Picture, on_fault: Callable[[str], None]) -> None:
    try:
        source = _data_uri(picture)
    except Exception as error:  # noqa: BLE001 - no picture is worth a report
        on_fault(f"{picture.path} can't be shown in the page: {error}")
        return
    figure = _add(parent, "figure", css="plot" if picture.is_plot else "picture")
    _add(figure, "h3", picture.title)
    if picture.note:
        _add(figure, "figcaption", picture.note)
    SubElement(figure, "img", alt=picture.title, src=source)


def _gallery(body: Element) -> Element:
    """Return the box that pictures in a row share, so that they stand side by side."""
    last = body[-1]
    return last if last.get("class") == GALLERY else _add(body, "div", css=GALLERY)


def _data_uri(picture: Picture) -> str:
    if picture.is_plot:
        return data_uri("image/png", picture.path.read_bytes())
    if picture.is_animation:
        return data_uri("image/webp", picture.path.read_bytes())
    return data_uri("image/jpeg", smaller(picture.path, WIDEST))
