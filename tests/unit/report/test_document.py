"""Reports as Markdown and HTML: complete, self-contained, and deaf to what a model's names try to say."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from tests.unit.report.test_schema import emulated
from tinycompress.report.arena import ArenaMap, Block, colours, live_at_peak, svg
from tinycompress.report.document import of_runs, sections, title
from tinycompress.report.html import html
from tinycompress.report.markdown import markdown
from tinycompress.report.model import Failure, Port, Report

EVIL = '<script>alert("1")</script>|`x`\x1b[31m&'


def evil() -> Report:
    report = emulated()
    port = Port(EVIL, (8, 8, 1), "int8", 0.5, -3, "CHW")
    return replace(
        report,
        model=replace(report.model, name=EVIL, inputs=(port,), outputs=(port,)),
        layers=(replace(report.layers[0], name=EVIL),),
        notes=(EVIL,),
        failure=Failure("TC-B110", EVIL, None, None, 4),
    )


def arena(unit: str = "layers") -> ArenaMap:
    blocks = (
        Block(EVIL, "tensor", 0, 40, -1, 0),
        Block("out", "tensor", 40, 16, 0, 1),
        Block(EVIL, "scratch", 56, 8, 0, 0),
    )
    return ArenaMap(1, 64, unit, (0, 0), 0, blocks)


class Tags(HTMLParser):
    """The tags and attribute names of a document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(name for name, _ in attributes)}


def test_html_is_one_file_that_runs_and_loads_nothing() -> None:
    report = evil()
    text = html(title(report), sections(report, arena()), report, arena())
    assert not Tags(text).found & {"script", "link", "img", "iframe", "src", "href", "onload"}
    assert "default-src 'none'" in text
    assert "\x1b" not in text
    assert "&lt;script&gt;" in text
    assert 'class="failed"' in text


@pytest.mark.parametrize("unit", ["layers", "steps"])
def test_the_picture_is_xml_with_every_block_the_peak_and_the_bound(unit: str) -> None:
    drawn = arena(unit)
    root = ElementTree.fromstring(svg(drawn, {0: EVIL}, 50))
    tips = [node.text or "" for node in root.iter("title")]
    assert sum("B at" in tip for tip in tips) == len(drawn.blocks)
    said = " ".join(node.text or "" for node in root.iter("text"))
    assert "lower bound 50 B" in said
    assert "64 B live" in said
    assert len(set(colours(drawn).values())) == 3
    assert live_at_peak(drawn) == [(EVIL, 40), ("out", 16), (f"scratch of {EVIL}", 8)]


def test_markdown_tables_keep_their_columns() -> None:
    report = evil()
    text = markdown(title(report), sections(report, arena()))
    assert "<script>" not in text
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table
    assert "## Arena" in text
    assert "## Arena" not in markdown(title(report), sections(report, None))


def test_a_map_of_another_plan_is_no_crash() -> None:
    other = replace(arena(), layers=(7, -1), peak=0)
    assert "at layer 7" in html("t", sections(emulated(), other), emulated(), other)


def test_several_runs_are_one_table() -> None:
    parts = of_runs(("run", "B"), [("a|b", "1")], (1,), "exact")
    assert "| a\\|b | 1 |" in markdown("Runs", parts)
    assert '<td class="right">1</td>' in html("Runs", parts)
