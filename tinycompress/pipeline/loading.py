"""From what the user names to a graph: a file, a stored graph, or a Python factory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tinycompress.config import ModelSection
from tinycompress.errors import ConfigError, UnsafeModelError
from tinycompress.ir import store
from tinycompress.ir.graph import Graph, Preprocess, QuantGraph
from tinycompress.pipeline.checks import require_model


def load_model(section: ModelSection, preprocess: Preprocess | None = None) -> Graph | QuantGraph:
    """The network that `section` names, called as it says; `preprocess` stands in for its own (factories only).

    ConfigError TC-C105 when it is nothing we can open; UnsafeModelError TC-M600 for a .pt2 file without `trust`;
    otherwise what the front end raises.
    """
    require_model(section)
    graph = _load(section, preprocess)
    return replace(graph, name=section.name) if section.name else graph


def _load(section: ModelSection, preprocess: Preprocess | None) -> Graph | QuantGraph:
    path = Path(section.source or "")
    if path.is_dir():
        return store.load(path / "graph" if (path / "graph" / "graph.json").exists() else path)
    if not path.exists():
        return _load_factory(section, preprocess)
    if path.suffix == ".pt2":
        return _load_exported_program(path, trust=section.trust)
    from tinycompress.frontends import load_file

    return load_file(path, external_data=section.external_data)


def _load_exported_program(path: Path, *, trust: bool) -> Graph:
    if not trust:
        raise UnsafeModelError(
            "TC-M600",
            f"{path.name}: reading a .pt2 file can run code from it",
            where=str(path),
            fix="name the Python factory instead, or add --trust-model if you made the file yourself",
        )
    from tinycompress.frontends.torch_export import import_exported_program

    return import_exported_program(path)


def _load_factory(section: ModelSection, preprocess: Preprocess | None) -> Graph:
    from tinycompress.frontends.factory import load_module
    from tinycompress.frontends.torch_export import import_module

    assert section.source is not None
    module = load_module(section.source, section.weights)
    shape = section.input_shape or getattr(module, "input_shape", None)
    if shape is None:
        raise ConfigError(
            "TC-C104", f"the input shape of {section.source} is not known", fix="give --input-shape, e.g. 1,28,28"
        )
    name = section.source.rpartition(":")[2]
    if section.preprocess is not None:
        preprocess = Preprocess(**section.preprocess.model_dump())
    return import_module(module, tuple(shape), name, preprocess)
