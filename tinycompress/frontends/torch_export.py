"""PyTorch modules to Graph, by torch.export and without decompositions.

`import_module` exports a module with a batch of 1 and builds channels-last IR from the ATen calls. Unsupported
operators are reported all at once, by node name. BatchNorm and Dropout stay operators, so that the graph
trains as written.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import operator
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.frontends.batch_axis import FIX, without_batch
from tinycompress.frontends.channels_first import ChannelsFirstBuilder
from tinycompress.frontends.names import safe_name, source_name
from tinycompress.frontends.torch_calls import Call
from tinycompress.frontends.torch_ops import ADVICE, HANDLERS
from tinycompress.frontends.torch_whole import on_whole_shapes
from tinycompress.frontends.values import Value
from tinycompress.ir.graph import Graph, Preprocess
from tinycompress.ir.tensor import DType
from tinycompress.ir.verify import verify

if TYPE_CHECKING:
    import torch
    from torch.fx import Node

Shape = Sequence[int]
_DEFAULT_FIX = "replace it by supported operators (`tinycompress ops` lists them)"
_SERIES_CONSUMERS = ("aten.conv1d", "aten.max_pool1d", "aten.avg_pool1d", "aten.batch_norm", "aten.adaptive_avg_pool1d")


def import_module(
    module: torch.nn.Module,
    input_shape: Shape | Sequence[Shape] | Mapping[str, Shape],
    name: str | None = None,
    preprocess: Preprocess | None = None,
) -> Graph:
    """The module's inference as a verified float Graph; the module itself is not changed.

    `input_shape` is the shape of one input, with or without the leading batch of 1: `(1, 3, 32, 32)` or `(3, 32, 32)`;
    or one such shape per input (a sequence in the order of `forward`'s arguments, or by name). `preprocess` applies to
    the first input; left out, it is the module's own `preprocess` attribute, if it has one.

    Raises ModelError TC-M100 (export failed), TC-M102 (an operator mixes the batch), TC-M103 (dynamic shapes) or
    UnsupportedOpError TC-M101 with every unsupported operator.
    """
    preprocess = preprocess or getattr(module, "preprocess", None)
    frozen = copy.deepcopy(module).to("cpu").float().eval()
    errors: list[ModelError] = []
    for shapes in _readings(input_shape):
        try:
            return import_program(_exported(frozen, shapes), name or type(module).__name__, preprocess)
        except ModelError as error:
            errors.append(error)
    raise next((e for e in errors if e.code != "TC-M100"), errors[0])


def import_program(program: torch.export.ExportedProgram, name: str, preprocess: Preprocess | None = None) -> Graph:
    """An exported program's calls as a verified float Graph. Raises as `import_module`."""
    importer = _Importer(program, name, preprocess)
    return verify(importer.run())


def import_exported_program(path: Path) -> Graph:
    """The graph of a `.pt2` file. Reading one can run code from it: only for files the user says they trust.

    Raises ModelError TC-M120 when torch cannot read it, else as `import_module`.
    """
    import torch

    try:
        program = torch.export.load(path)
    except Exception as error:  # torch.export.load raises whatever it meets
        raise ModelError(
            "TC-M120",
            f"{path.name} cannot be read: {type(error).__name__}: {_first_lines(error)}",
            where=str(path),
            fix="export it again with this version of torch, or name the Python factory",
        ) from error
    return import_program(program, path.stem)


def _exported(module: torch.nn.Module, shapes: Mapping[int | str, tuple[int, ...]]) -> torch.export.ExportedProgram:
    """The module traced on floats; where that fails and it embeds indices, on integers."""
    import torch

    try:
        return _traced(module, shapes, torch.float32)
    except ModelError:
        if not any(isinstance(m, torch.nn.Embedding) for m in module.modules()):
            raise
    return _traced(module, shapes, torch.long)


def _traced(
    module: torch.nn.Module, shapes: Mapping[int | str, tuple[int, ...]], dtype: torch.dtype
) -> torch.export.ExportedProgram:
    import torch

    examples = {key: torch.zeros(shape, dtype=dtype) for key, shape in shapes.items()}
    by_name = {k: v for k, v in examples.items() if isinstance(k, str)}
    by_position = tuple(v for k, v in examples.items() if not isinstance(k, str))
    try:
        with _quiet():
            return torch.export.export(module, by_position, by_name or None)
    except Exception as error:  # torch.export raises whatever the user's forward raises
        raise ModelError(
            "TC-M100",
            f"torch.export could not trace the module: {type(error).__name__}: {_first_lines(error)}",
            where=type(module).__name__,
            fix="check --input-shape and that forward has no data-dependent branches",
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, log lines or prints: torch writes its whole trace when it fails, and the exception says enough."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    sink = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _readings(given: Shape | Sequence[Shape] | Mapping[str, Shape]) -> list[dict[int | str, tuple[int, ...]]]:
    """Input shapes with their batch of 1, in the order to try: a leading 1 is the batch, or else a channel."""
    shapes: dict[Any, Any]
    if isinstance(given, Mapping):
        shapes = {**given}
    elif len(given) > 0 and not isinstance(given[0], Sequence):
        shapes = {0: given}
    else:
        shapes = dict(enumerate(given))
    for key, shape in (shapes or {0: ()}).items():
        if not shape or any(not isinstance(s, int) or s < 1 for s in shape):
            raise ModelError(
                "TC-M103",
                f"shape {list(shape)} is dynamic or empty",
                where=f"input {key}",
                fix="give every dimension a fixed size, e.g. 3,32,32",
            )
    batched = {key: tuple(shape) if shape[0] == 1 else (1, *shape) for key, shape in shapes.items()}
    extended = {key: (1, *shape) for key, shape in shapes.items()}
    return [batched] if batched == extended else [batched, extended]


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return source_name(" ".join(lines[:3]) or "no message")


class _Importer:
    """Walks the exported calls once; `values` maps node names to Value, numpy array, list, plain data or _MISSING."""

    def __init__(self, program: torch.export.ExportedProgram, name: str, preprocess: Preprocess | None) -> None:
        self.program = program
        self.builder = ChannelsFirstBuilder(safe_name(name, "model").lower())
        self.preprocess = preprocess
        self.values: dict[str, Any] = {}
        self.failures: list[tuple[str, UnsupportedOpError]] = []

    def run(self) -> Graph:
        self._constants()
        nodes = list(self.program.graph.nodes)
        for position, node in enumerate(nodes):
            if node.op == "placeholder" and node.name not in self.values:
                self._input(node)
            elif node.op == "call_function":
                self.values[node.name] = self._call(node, {n.name for n in nodes[position + 1 :]})
        if self.failures:
            raise self._unsupported()
        return self.builder.graph(self._outputs(nodes[-1]))

    def _constants(self) -> None:
        signature = self.program.graph_signature
        stored = {**self.program.state_dict, **self.program.constants}
        for spec in signature.input_specs:
            if spec.target is not None and spec.target in stored:
                self.values[str(spec.arg.name)] = stored[spec.target].detach()

    def _input(self, node: Node) -> None:
        shape = [_static(s, node) for s in node.meta["val"].shape]
        if not shape or shape[0] != 1:
            raise ModelError("TC-M103", f"input of shape {shape} has no leading batch of 1", where=node.name)
        users = [str(user.target) for user in node.users]
        if len(shape) == 3:
            is_plain = not any(u.startswith(_SERIES_CONSUMERS) for u in users)
        else:
            is_plain = bool(users) and all(u in ("aten.permute.default", "aten.transpose.int") for u in users)
        first = self.preprocess if not self.builder.inputs else None
        dtype = DType.FLOAT32 if node.meta["val"].dtype.is_floating_point else DType.INT32
        self.values[node.name] = self.builder.input(
            node.name, tuple(shape[1:]), is_plain=is_plain, preprocess=first, dtype=dtype
        )

    def _outputs(self, node: Node) -> list[Value]:
        found = self._resolve(node.args[0])
        flat = list(found) if isinstance(found, (list, tuple)) else [found]
        if not flat or not all(isinstance(v, Value) for v in flat):
            raise ModelError("TC-M104", "the module returns something other than tensors computed from its input")
        return [self._output(value) for value in flat]

    def _output(self, value: Value) -> Value:
        found = without_batch(value)
        if found is None:
            what = f"the output of shape {list(value.shape)} has no batch axis of 1"
            raise ModelError("TC-M102", what, where=self.builder.tensors[value.tensor].source, fix=FIX)
        return found

    def _call(self, node: Node, later: set[str]) -> Any:
        if node.target is operator.getitem:
            found = self._resolve(node.args[0])
            index: Any = node.args[1]
            return _MISSING if found is _MISSING else found[index] if index < len(found) else _MISSING
        target = str(node.target)
        arguments = self._arguments(node)
        if _contains(arguments, Value):
            return self._activation(node, target, arguments, later)
        if _contains(arguments, _Missing):
            if _plain_form(target) not in HANDLERS:
                self._fail(node, self._unknown(target))
            return _MISSING
        return self._folded(node, target, arguments)

    def _activation(self, node: Node, target: str, arguments: dict[str, Any], later: set[str]) -> Any:
        plain = _plain_form(target)
        handler = HANDLERS.get(plain)
        if handler is None:
            if node.users:
                self._fail(node, self._unknown(target))
            return _MISSING
        if _contains(arguments, _Missing):
            return _MISSING
        self.builder.at(*_names(node))
        try:
            if plain != target:
                self._check_aliases(node, later)
            call = Call(_numpy(arguments), _result_shapes(node))
            return on_whole_shapes(plain, call, handler)(self.builder, call)
        except UnsupportedOpError as error:
            self._fail(node, error)
            return _MISSING
        except ModelError as error:
            error.where = error.where or _names(node)[1]
            raise

    def _folded(self, node: Node, target: str, arguments: dict[str, Any]) -> Any:
        """A call on constants only: computed here and now, unless it draws random numbers."""
        import torch

        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            self._fail(node, UnsupportedOpError("TC-M101", "random numbers at inference", fix="remove them"))
            return _MISSING
        positional = torch.fx.node.map_arg(node.args, lambda n: self.values[n.name])
        named = torch.fx.node.map_arg(node.kwargs, lambda n: self.values[n.name])
        assert callable(node.target)
        return node.target(*positional, **named)

    def _check_aliases(self, node: Node, later: set[str]) -> None:
        """An in-place call must not change a tensor that a view, used later, still shows."""
        changed: Any = node.args[0]
        held = self.values[changed.name]
        for name, value in self.values.items():
            if name == changed.name or not isinstance(value, Value) or value.tensor != held.tensor:
                continue
            viewer = next(n for n in self.program.graph.nodes if n.name == name)
            if any(user.name in later for user in viewer.users):
                raise UnsupportedOpError(
                    "TC-M101", f"in-place change of a tensor that {name!r} still views", fix="use the out-of-place form"
                )

    def _arguments(self, node: Node) -> dict[str, Any]:
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            return {str(i): self._resolve(a) for i, a in enumerate(node.args)}
        arguments = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        for argument, given in zip(schema.arguments, node.args, strict=False):
            arguments[argument.name] = self._resolve(given)
        arguments.update({k: self._resolve(v) for k, v in node.kwargs.items()})
        return arguments

    def _resolve(self, argument: Any) -> Any:
        import torch

        return torch.fx.node.map_arg(argument, lambda n: self.values[n.name])

    def _unknown(self, target: str) -> UnsupportedOpError:
        short = target.removeprefix("aten.").split(".")[0].rstrip("_")
        return UnsupportedOpError("TC-M101", "", fix=ADVICE.get(short, _DEFAULT_FIX))

    def _fail(self, node: Node, error: UnsupportedOpError) -> None:
        self.failures.append((f"{_names(node)[1]} ({node.target})", error))

    def _unsupported(self) -> UnsupportedOpError:
        lines = [f"{where}: {e.what or 'not supported'}; {e.fix}" for where, e in self.failures]
        count = len(lines)
        return UnsupportedOpError(
            "TC-M101",
            f"{count} operator{'s' if count > 1 else ''} cannot be imported:\n  " + "\n  ".join(lines),
            where=", ".join(where.split(" ")[0] for where, _ in self.failures),
            fix="change these nodes as said above",
        )


class _Missing:
    """Stands for the result of a node that could not be imported."""


_MISSING = _Missing()


def _contains(tree: Any, kind: type) -> bool:
    if isinstance(tree, Mapping):
        return any(_contains(v, kind) for v in tree.values())
    if isinstance(tree, (list, tuple)):
        return any(_contains(v, kind) for v in tree)
    return isinstance(tree, kind)


def _numpy(tree: Any) -> Any:
    """Constants as numpy arrays, containers as they are."""
    if isinstance(tree, Mapping):
        return {k: _numpy(v) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_numpy(v) for v in tree]
    return np.asarray(tree.detach().cpu()) if hasattr(tree, "detach") else tree


def _plain_form(target: str) -> str:
    """`aten.relu_.default` → `aten.relu.default`."""
    parts = target.split(".")
    if len(parts) == 3 and parts[1].endswith("_") and not parts[1].startswith("_"):
        parts[1] = parts[1].rstrip("_")
    return ".".join(parts)


def _static(size: Any, node: Node) -> int:
    if not isinstance(size, int):
        raise ModelError(
            "TC-M103",
            f"dimension {size} is dynamic",
            where=node.name,
            fix="export with fixed shapes (no dynamic_shapes)",
        )
    return size


def _result_shapes(node: Node) -> tuple[tuple[int, ...], ...]:
    found: Any = node.meta.get("val")
    results: Any = found if isinstance(found, (list, tuple)) else [found]
    return tuple(tuple(_static(s, node) for s in r.shape) for r in results if hasattr(r, "shape"))


def _names(node: Node) -> tuple[str, str]:
    """(identifier, the user's name): the module's path for calls of torch's own layers, else the node's name."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if stack:
        path, kind = stack[-1]
        qualified = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        if path and qualified.startswith("torch.nn.modules"):
            return path, path
    return node.name, node.name
