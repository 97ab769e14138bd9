"""A user's Python factory and weights as a module. Naming a factory is consent to run it; weights are data.

The name may be of a function or class that gives a module when called without arguments, or of a module.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinycompress.errors import ModelError, UnsafeModelError
from tinycompress.user_code import Refusal, load_object

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

    made = load_object(reference, Refusal(ModelError, absent="TC-M110", failed="TC-M111"))
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
