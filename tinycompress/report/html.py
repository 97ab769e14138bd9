"""A document as one HTML file: no scripts, nothing loaded from elsewhere; names from a model cannot become markup."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from tinycompress.report.arena import ArenaMap, colours, svg
from tinycompress.report.document import Section
from tinycompress.report.model import Report
from tinycompress.report.text import visible

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1d2126; background: #fff; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { padding: .15rem .7rem .15rem 0; text-align: left; white-space: nowrap; vertical-align: top }
td.wide { white-space: normal; overflow-wrap: anywhere }
th { border-bottom: 1px solid #9aa0a6 } .right { text-align: right; font-variant-numeric: tabular-nums }
.failed { color: #b3261e } .legend span { margin-right: 1em; white-space: nowrap }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .3em }
svg { width: 100%; font-size: 11px } svg text { fill: #1d2126; pointer-events: none }
svg .end { text-anchor: end } svg .middle { text-anchor: middle } svg .frame { fill: #f4f5f6 }
svg .bound { stroke: #1d2126; stroke-dasharray: 4 3 } svg .runs { fill: #5f6368 }
svg .peak { fill: none; stroke: #b3261e; pointer-events: none }
"""
_LONG = 100
"""Characters above which a cell may be broken over lines."""


def html(title: str, sections: Sequence[Section], report: Report | None = None, arena: ArenaMap | None = None) -> str:
    """The document; with `arena` its section holds the picture."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    lines = [
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n<h1>{_text(title)}</h1>",
    ]
    if report is not None and report.failure is not None:
        lines.append(f'<p class="failed">{_text(f"{report.failure.code}: {report.failure.what}")}</p>')
    for section in sections:
        lines.append(f"<h2>{_text(section.title)}</h2>")
        if section.is_arena and arena is not None and report is not None:
            lines += _picture(report, arena)
        lines += _table(section) if section.header else ()
        lines += [f"<p>{_text(line)}</p>" for line in section.lines]
    return "\n".join(lines) + "\n</html>\n"


def _picture(report: Report, arena: ArenaMap) -> Iterator[str]:
    names = {layer.index: layer.name for layer in report.layers}
    yield svg(arena, names, report.ram.arena_lower_bound_bytes)
    swatches = (f'<span><i style="background:{c}"></i>{_text(n)}</span>' for n, c in colours(arena).items())
    yield f'<p class="legend">{" ".join(swatches)}</p>'


def _table(section: Section) -> Iterator[str]:
    def cells(row: tuple[str, ...], tag: str) -> str:
        kinds = ("right" if i in section.right else "wide" if len(c) > _LONG else "" for i, c in enumerate(row))
        marked = (f' class="{kind}"' if kind else "" for kind in kinds)
        return "".join(f"<{tag}{mark}>{_text(c)}</{tag}>" for mark, c in zip(marked, row, strict=True))

    yield f"<table><thead><tr>{cells(section.header, 'th')}</tr></thead><tbody>"
    yield from (f"<tr>{cells(row, 'td')}</tr>" for row in section.rows)
    yield "</tbody></table>"


def _text(text: str) -> str:
    return escape(visible(text))
