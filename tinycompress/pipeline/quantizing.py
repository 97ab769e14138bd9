"""The quantize stage: calibration data from the user, PTQ, then the integer graph's own passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinycompress.config import Config
from tinycompress.data import Dataset, load_data, spread
from tinycompress.errors import ConfigError, located
from tinycompress.ir.graph import Graph, QuantGraph, Rounding
from tinycompress.ir.inputs import inputs_by_name, noise_range, real_inputs
from tinycompress.ir.tensor import Array, DType
from tinycompress.ir.verify import to_quant_graph
from tinycompress.npz import read_npz
from tinycompress.pipeline.settings import RANDOM

RANDOM_NOTE = "calibrated on random data: sizes and counts are right, accuracy is not"


def quantize_for_deployment(graph: Graph | QuantGraph, config: Config, dataset: Dataset | None) -> QuantGraph:
    """`graph` as the integer network that is deployed: as it is, or calibrated and quantized when it is float."""
    from tinycompress.passes import prepare_for_deployment

    rounding = Rounding(config.quantize.rounding)
    if isinstance(graph, QuantGraph):
        return prepare_for_deployment(to_quant_graph(graph, rounding))
    from tinycompress.quantize.ptq import quantize

    batch, note = calibration_inputs(graph, config, dataset)
    quantized = quantize(
        graph,
        batch,
        weights=config.quantize.weights,
        activations=config.quantize.activations,
        rounding=rounding,
        bias_correction=config.quantize.bias_correction,
    )
    deployed = prepare_for_deployment(quantized)
    return _noted(deployed, note) if note else deployed


def _noted(graph: QuantGraph, note: str) -> QuantGraph:
    from dataclasses import replace

    return replace(graph, notes=(*graph.notes, note))


def calibration_inputs(graph: Graph, config: Config, dataset: Dataset | None) -> tuple[tuple[Array, ...], str | None]:
    """One float32 batch per graph input, and a note when they are random.

    Order: --calibration, else the data set's training split; ConfigError TC-C106 when there is neither.
    """
    count, source = config.data.calibration_samples, config.data.calibration
    if source == RANDOM:
        rng = np.random.default_rng(config.seed)
        return tuple(_noise(graph, name, count, rng) for name in graph.input_names), RANDOM_NOTE
    if source is not None:
        is_file = Path(source).suffix == ".npz"
        arrays = read_inputs(Path(source), graph) if is_file else _of(load_data(source, seed=config.seed), graph)
    elif dataset is not None:
        arrays = _of(dataset, graph)
    else:
        raise ConfigError(
            "TC-C106",
            "a float model needs calibration data to become int8",
            fix="give --calibration FILE.npz or --data; `--calibration random` goes on without (marked in the report)",
        )
    chosen = [a[spread(len(a), count)] for a in arrays]
    with located(str(source or config.data.source)):
        return tuple(real_inputs(a, graph, i) for i, a in enumerate(chosen)), None


def _noise(graph: Graph, name: str, count: int, rng: np.random.Generator) -> Array:
    """Standard normal values, or indices of the table's rows."""
    tensor = graph.tensors[name]
    if tensor.dtype is DType.INT32:
        low, high = noise_range(graph, name)
        return rng.integers(low + 1, high, (count, *tensor.shape)).astype(np.int32)
    return rng.standard_normal((count, *tensor.shape)).astype(np.float32)


def _of(dataset: Dataset, graph: Graph) -> tuple[Array, ...]:
    with located(dataset.name):
        return tuple(inputs_by_name(dataset.train.samples, graph).values())


def read_inputs(path: Path, graph: Graph) -> tuple[Array, ...]:
    """One array per graph input from an npz file: by the input's name, else in the file's order, else `x`.

    ConfigError TC-C107 when the file has no such arrays, or an array is empty, not numeric, or not finite.
    """
    arrays = _read_arrays(path)
    for name, array in arrays.items():
        _require_numbers(array, f"{path}, array {name}")
    names = graph.input_names
    sources = [graph.tensors[n].source for n in names]
    for keys in (names, sources, [f"x{i}" for i in range(len(names))]):
        if all(k in arrays for k in keys):
            return tuple(arrays[k] for k in keys)
    if len(names) == 1:
        for key in ("x", "x_train", "inputs"):
            if key in arrays:
                return (arrays[key],)
        if len(arrays) == 1:
            return tuple(arrays.values())
    raise ConfigError(
        "TC-C107",
        f"the file has {', '.join(arrays) or 'no arrays'}; the model takes {', '.join(names)}",
        where=str(path),
        fix="name the arrays after the model's inputs",
    )


def _read_arrays(path: Path) -> dict[str, Array]:
    try:
        return read_npz(path, single=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        fix = "give a file written by numpy.savez"
        raise ConfigError("TC-C107", f"cannot read inputs: {reason}", where=str(path), fix=fix) from None


def _require_numbers(array: Array, where: str) -> None:
    if array.dtype.kind not in "iufb":
        fix = "write it as an array of numbers"
        raise ConfigError("TC-C107", f"the array holds {array.dtype}, not numbers", where=where, fix=fix)
    if array.size == 0:
        fix = "give at least one sample; the first axis counts them"
        raise ConfigError("TC-C107", f"the array of shape {list(array.shape)} is empty", where=where, fix=fix)
    wrong = 0 if array.dtype.kind != "f" else int(np.count_nonzero(~np.isfinite(array)))
    if wrong:
        what = f"{wrong:,} of {array.size:,} values are NaN or infinite"
        raise ConfigError("TC-C107", what, where=where, fix="repair these samples or leave them out")
