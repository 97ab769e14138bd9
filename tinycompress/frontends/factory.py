"""A user's Python factory and weights as a module. Naming a factory is consent to run it; weights are data.

`pkg.mod:name` is imported (the working directory counts), `file.py:name` is run from its file, with its directory
importable so that it finds its neighbours. The name may be a function or class that gives a module, or a module.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import pickle
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinycompress.errors import ModelError, UnsafeModelError

if TYPE_CHECKING:
    import torch

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_LISTED = 5


def load_module(reference: str, weights: str | Path | None = None) -> torch.nn.Module:
    """The module that `reference` names, in eval mode, with the state dict in `weights` loaded.

    Raises ModelError TC-M110 (nothing there), TC-M111 (the factory failed or gives something else), TC-M113 (weights do
    not fit) or UnsafeModelError TC-M112 (weights that are not plain tensors).
    """
    import torch

    made = load_object(reference)
    if not isinstance(made, torch.nn.Module):
        if not callable(made):
            raise ModelError(
                "TC-M111", f"{reference} is a {type(made).__name__}, not a factory", fix="name a function or class"
            )
        try:
            made = made()
        except Exception as error:  # the user's code may raise anything
            raise ModelError(
                "TC-M111",
                f"{reference} failed: {type(error).__name__}: {error}",
                where=reference,
                fix="the factory is called without arguments; wrap it in a function that needs none",
            ) from error
    if not isinstance(made, torch.nn.Module):
        raise ModelError(
            "TC-M111",
            f"{reference} gives a {type(made).__name__}, not a torch.nn.Module",
            where=reference,
            fix="return the module itself",
        )
    if weights is not None:
        load_weights(made, Path(weights))
    return made.eval()


def load_object(reference: str) -> Any:
    """What `pkg.mod:name` or `file.py:name` names. Raises ModelError TC-M110 (absent) or TC-M111 (its module fails)."""
    location, _, name = reference.rpartition(":")
    if not location or not name:
        raise ModelError(
            "TC-M110", f"{reference!r} does not name an object", fix="write pkg.mod:name or path/file.py:name"
        )
    module = _run_file(Path(location)) if location.endswith(".py") else _import(location)
    try:
        return getattr(module, name)
    except AttributeError:
        public = sorted(n for n in vars(module) if not n.startswith("_"))[:_LISTED]
        raise ModelError(
            "TC-M110", f"{location} has no {name!r}", where=location, fix=f"it has {', '.join(public) or 'no names'}"
        ) from None


def _run_file(path: Path) -> Any:
    if not path.is_file():
        raise ModelError("TC-M110", f"{path} does not exist", where=str(path), fix="check the path before the colon")
    name = f"tinycompress_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    loader = spec.loader
    assert loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _importable(path.resolve().parent):
        _guarded(lambda: loader.exec_module(module), str(path))
    return module


def _import(location: str) -> Any:
    with _importable(Path.cwd()):
        return _guarded(lambda: importlib.import_module(location), location)


def _guarded(run: Any, where: str) -> Any:
    try:
        return run()
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if where == missing or where.startswith(f"{missing}."):
            raise ModelError(
                "TC-M110",
                f"there is no Python module {where!r}",
                where=where,
                fix="run from its directory, or give a file: path/file.py:name",
            ) from error
        raise ModelError(
            "TC-M111", f"{where} needs {missing!r}", where=where, fix=f"install {missing} in this environment"
        ) from error
    except Exception as error:  # the user's module may raise anything while it loads
        raise ModelError("TC-M111", f"{where} failed: {type(error).__name__}: {error}", where=where) from error


@contextlib.contextmanager
def _importable(directory: Path) -> Iterator[None]:
    """`directory` first on the import path, for the time being."""
    entry = str(directory)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Loads a state dict into `module`, every key of it.

    Only tensors and plain containers are read (`weights_only`); a file that holds anything else is refused for good.
    Checkpoints that wrap the state dict, and the prefix that DataParallel adds, are understood. Raises
    UnsafeModelError TC-M112, or ModelError TC-M113 naming the keys that do not fit.
    """
    state = _state_dict(_read(path), path)
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    wanted = module.state_dict()
    missing = [k for k in wanted if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in wanted]
    shaped = [
        f"{k} is {list(state[k].shape)}, the module's is {list(v.shape)}"
        for k, v in wanted.items()
        if k in state and state[k].shape != v.shape
    ]
    problems = [
        f"{what} {', '.join(found[:_LISTED])}{f' and {len(found) - _LISTED} more' if len(found) > _LISTED else ''}"
        for what, found in (("it lacks", missing), ("it also has", unexpected), ("shapes differ:", shaped))
        if found
    ]
    if problems:
        raise ModelError(
            "TC-M113",
            f"{path.name} does not fit the module: {'; '.join(problems)}",
            where=str(path),
            fix="save the state dict of the very class that the factory builds",
        )
    module.load_state_dict(state, strict=False)


def _read(path: Path) -> Any:
    """The file's tensors, by torch's restricted reader; it is never retried with the unrestricted one."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the reader raise nearly anything
        reason = str(error)
        if isinstance(error, pickle.UnpicklingError) and (
            "Unsupported global" in reason or "Unsupported class" in reason
        ):
            raise UnsafeModelError(
                "TC-M112",
                f"{path.name} holds more than tensors, and reading it could run code",
                where=str(path),
                fix="save only the weights: torch.save(model.state_dict(), path)",
            ) from error
        first = reason.strip().splitlines()[0] if reason.strip() else type(error).__name__
        raise ModelError(
            "TC-M113",
            f"{path.name} cannot be read as a torch file: {first}",
            where=str(path),
            fix="give a file written by torch.save(model.state_dict(), path)",
        ) from error


def _state_dict(found: Any, path: Path) -> Mapping[str, Any]:
    """The mapping of names to tensors inside a checkpoint."""
    import torch

    candidates = [found]
    if isinstance(found, Mapping):
        candidates += [found[key] for key in _WRAPPERS if key in found]
    for candidate in candidates:
        if isinstance(candidate, Mapping) and all(isinstance(v, torch.Tensor) for v in candidate.values()):
            return {str(k): v for k, v in candidate.items()}
    raise ModelError(
        "TC-M113",
        f"{path.name} holds no state dict",
        where=str(path),
        fix="save it as torch.save(model.state_dict(), path)",
    )
