"""Templates and kernels to files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tinycompress import __version__, assets
from tinycompress.emit.contexts import CmakeContext, Provenance
from tinycompress.emit.library import model_context, name_library, weights_context
from tinycompress.emit.names import comment_text, string_text
from tinycompress.emit.program import Program
from tinycompress.emit.readback import read_back
from tinycompress.ir.store import graph_sha256
from tinycompress.plan.model import Plan
from tinycompress.templates import environment

_INCLUDE = re.compile(r'^\s*#\s*include\s+"(tc_\w+\.h)"', re.MULTILINE)
_SHORT_SHA = 12


def kernel_text(header: str) -> str:
    """The text of one hand-written header of codegen/kernels, unmodified."""
    return (assets.directory("codegen") / "kernels" / header).read_text(encoding="utf-8")


def kernel_closure(headers: set[str]) -> dict[str, str]:
    """The headers and all they include, by sorted file name, but not tc_hooks.h: the build that wants hooks has it."""
    found: dict[str, str] = {}
    left = set(headers)
    while left:
        header = left.pop()
        found[header] = kernel_text(header)
        left |= set(_INCLUDE.findall(found[header])) - set(found) - {"tc_hooks.h"}
    return dict(sorted(found.items()))


def render(template: str, **contexts: Any) -> str:
    """One template of codegen/templates with its context dataclasses; an undefined name is an error."""
    templates = environment(assets.directory("codegen") / "templates", comment=comment_text, string=string_text)
    return templates.get_template(template).render(**contexts)


def _numerics(plan: Plan) -> str:
    dtypes = sorted({plan.graph.tensors[n].dtype.value for n in plan.placements})
    return f"{' and '.join(dtypes)} activations, int8 weights, {plan.graph.rounding.value} rounding"


def generate(
    plan: Plan,
    directory: Path,
    *,
    recipe_sha: str | None = None,
    model_sha: str | None = None,
    prefix: str | None = None,
) -> Program:
    """Writes the library of `plan` into `directory` (made when absent) and returns it.

    <prefix>.h, <prefix>.c, <prefix>_weights.{h,c}, the kernels they need, unmodified, and a CMakeLists.txt. `prefix`
    defaults to one made from the graph's name; `model_sha` to the digest of the stored graph. The same plan gives the
    same bytes.
    """
    naming = name_library(plan, prefix)
    model_sha = model_sha or graph_sha256(plan.graph)
    wanted = {"tc_rows.h", "tc_quantize.h", "tc_status.h", *(layer.kernel.header for layer in plan.layers)}
    kernels = kernel_closure(wanted)
    provenance = Provenance(
        version=__version__,
        model=plan.graph.name,
        model_sha=model_sha[:_SHORT_SHA],
        recipe_sha=recipe_sha[:_SHORT_SHA] if recipe_sha else None,
        arena_bytes=plan.arena_bytes,
        state_bytes=plan.state_bytes,
        weights_bytes=plan.weights_bytes,
        numerics=_numerics(plan),
    )
    model = model_context(plan, naming, kernels, model_sha)
    weights = weights_context(plan, naming)
    name = naming.prefix
    files = {
        f"{name}.h": render("model.h.j2", p=provenance, m=model),
        f"{name}.c": render("model.c.j2", p=provenance, m=model),
        f"{name}_weights.h": render("weights.h.j2", p=provenance, w=weights),
        f"{name}_weights.c": render("weights.c.j2", p=provenance, w=weights),
        "CMakeLists.txt": render("cmake.j2", p=provenance, c=CmakeContext(name)),
        **kernels,
    }
    read_back(files[f"{name}.c"], plan, naming)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (directory / file).write_text(text, encoding="utf-8", newline="\n")
    return Program(directory, plan, naming.prefix, tuple(sorted(files)), model)
