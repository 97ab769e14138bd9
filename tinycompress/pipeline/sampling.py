"""Which inputs the target is compared on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinycompress.config import Config
from tinycompress.data import Dataset
from tinycompress.errors import located
from tinycompress.ir.graph import QuantGraph
from tinycompress.ir.inputs import integer_batches, integer_inputs, noise_range
from tinycompress.ir.tensor import Array
from tinycompress.pipeline.quantizing import read_inputs


def integer_samples(
    graph: QuantGraph, config: Config, dataset: Dataset | None, inputs: Path | None = None
) -> dict[str, Array]:
    """`config.deploy.samples` integer inputs by name `(n, …)`: from a file (then all of it), the test split, or noise.

    Noise is uniform over `noise_range` by seed; its first two samples are the smallest and the largest value.
    """
    names = graph.input_names
    if inputs is not None:
        arrays = read_inputs(inputs, graph)
        with located(str(inputs)):
            return {n: integer_inputs(a, graph, i) for i, (n, a) in enumerate(zip(names, arrays, strict=True))}
    count = config.deploy.samples
    if dataset is not None:
        return samples_of_test(graph, dataset, count)
    rng = np.random.default_rng(config.seed)
    samples = {}
    for name in names:
        tensor = graph.tensors[name]
        low, high = noise_range(graph, name)
        noise = rng.integers(low, high, (count, *tensor.shape), endpoint=True).astype(tensor.dtype.numpy)
        for index, value in enumerate((low, high)[:count]):
            noise[index] = value
        samples[name] = noise
    return samples


def samples_of_test(graph: QuantGraph, dataset: Dataset, count: int) -> dict[str, Array]:
    """The first `count` integer inputs of the test split by name (0: all); ConfigError TC-C107 when they do not fit."""
    with located(dataset.name):
        return integer_batches(dataset.test.first(count).samples, graph)
