"""The one set-up of the template engine: C stays as it is written, and an undefined name is an error."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import jinja2


@functools.cache
def environment(*folders: Path, **filters: Callable[[str], str]) -> jinja2.Environment:
    """Templates of `folders`, first match first. Block tags leave no blank line; an edited template is read again."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        auto_reload=True,
    )
    made.filters.update(filters)
    return made
