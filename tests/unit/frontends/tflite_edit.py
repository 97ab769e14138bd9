"""Edits TFLite files through the schema's object form, for tests of what the importer accepts and refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flatbuffers
import pytest

schema: Any = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs ai-edge-litert (extra dev)")


def edited(data: bytes, edit: Callable[[Any], None]) -> bytes:
    """`data` after `edit` has changed its model object."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    edit(model)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
