"""Imports go one way between rooms (docs/DESIGN.md), and heavy libraries are imported lazily."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "tinycompress"
EVERYWHERE = {"errors", "units", "codec", "folders", "npz", "__version__", ""}
IR = {"ir"}

ALLOWED: dict[str, set[str]] = {
    "ir": set(),
    "kernels": IR,
    "frontends": IR | {"passes", "execute", "quantize", "user_code"},
    "passes": IR | {"execute"},
    "execute": IR,
    "export": IR | {"execute", "passes"},
    "cost": IR | {"kernels"},
    "plan": IR | {"kernels", "cost"},
    "quantize": IR | {"passes", "execute"},
    "compress": IR
    | {"passes", "execute", "cost", "kernels", "plan", "quantize", "data", "frontends", "rundir", "config"},
    "emit": IR | {"plan", "kernels", "cost", "boards", "assets", "build", "templates"},
    "build": {"boards", "assets", "templates"},
    "device": {"boards", "assets", "build"},
    "boards": {"assets"},
    "assets": set(),
    "templates": set(),
    "user_code": set(),
    "gpu": IR | {"build", "compress", "emit", "passes", "execute", "quantize", "data", "assets", "frontends", "zoo"},
    "report": set(),
    "zoo": {"ir"},
    "data": {"assets", "user_code"},
    "explain": {"device"},
    "rundir": set(),
    "config": set(),
    "operators": IR | {"kernels", "execute", "cost", "compress", "plan", "passes", "quantize", "export"},
    "codec": set(),
    "errors": set(),
    "npz": set(),
    "units": set(),
}
"""What each room may import besides itself; rooms that are absent here (pipeline, cli) may import everything."""

TORCH = {
    "frontends/torch_export.py",
    "frontends/factory.py",
    "execute/torch_module.py",
    "execute/torch_functions.py",
    "quantize/qat.py",
}
TORCH_ROOMS = {"compress", "gpu", "zoo", "data"}


def modules() -> list[Path]:
    return sorted(p for p in ROOT.rglob("*.py") if "_share" not in p.parts)


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            if node.module == "tinycompress":
                names.update(f"tinycompress.{alias.name}" for alias in node.names)
    return names


def type_checking_free(tree: ast.Module) -> ast.Module:
    """The module without its `if TYPE_CHECKING:` blocks: types may point anywhere."""
    body = [
        n
        for n in tree.body
        if not (isinstance(n, ast.If) and isinstance(n.test, ast.Name) and n.test.id == "TYPE_CHECKING")
    ]
    return ast.Module(body=body, type_ignores=[])


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    tree = type_checking_free(ast.parse(path.read_text(encoding="utf-8")))
    own = room(path)
    names = imported(tree)
    if own in ALLOWED:
        rooms = {n.split(".")[1] if "." in n else "" for n in names if n.split(".")[0] == "tinycompress"}
        allowed = ALLOWED[own] | {own} | EVERYWHERE
        assert rooms <= allowed, f"{own} imports {sorted(rooms - allowed)}"
    if own != "cli":
        assert not any(n.startswith("tinycompress.cli") for n in names) or path.name == "__main__.py"
    relative = path.relative_to(ROOT).as_posix()
    if any(n.split(".")[0] == "torch" for n in names) and own not in TORCH_ROOMS:
        assert relative in TORCH, f"{relative} imports torch"


HEAVY = ("torch", "onnx", "numpy", "pydantic", "jinja2", "matplotlib")


@pytest.mark.parametrize("arguments", [["--help"], ["boards"], ["explain", "TC-M001"], ["ops"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from tinycompress.cli.app import run; status = run(sys.argv[1:]);"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    allowed = ["numpy"] if arguments == ["ops"] else []  # the tables of operators are made of arrays
    assert done.stderr.strip().splitlines()[-1] == str(allowed)
