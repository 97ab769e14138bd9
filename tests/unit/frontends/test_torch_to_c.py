"""From module to generated C: every case of the front end, quantized, is byte-exact on every tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.frontends.torch_cases import IMAGE, IMAGE_CASES, SERIES, SERIES_CASES, randomise
from tinycompress.api import quantize
from tinycompress.emit import generate
from tinycompress.execute import reference
from tinycompress.frontends.torch_export import import_module
from tinycompress.plan import plan

CASES = {**{n: (m, IMAGE) for n, m in IMAGE_CASES.items()}, **{n: (m, SERIES) for n, m in SERIES_CASES.items()}}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_generated_c_equals_the_reference(name: str, tmp_path: Path) -> None:
    module, shape = CASES[name]
    graph = import_module(randomise(module), shape, "net")
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=(40, *graph.tensor(n).shape)).astype(np.float32) for n in graph.input_names]
    quantized = quantize(graph, samples)
    program = generate(plan(quantized, has_dsp=True), tmp_path)
    host = program.host(flags=("-O0",))
    for _ in range(4):
        x = {n: rng.integers(-128, 128, quantized.tensor(n).shape).astype(np.int8) for n in quantized.input_names}
        expected = reference.run(quantized, x).tensors
        for tensor, values in host.run_traced(x).items():
            np.testing.assert_array_equal(values, expected[tensor], err_msg=tensor)
