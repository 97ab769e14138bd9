"""Kernels given up for flash: the default leaves out large packings that gain little; shared code counts once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinycompress.cost.code import CALL_CODE_BYTES, LIBRARY_CODE_BYTES, code_bytes
from tinycompress.frontends.tflite_model import load_tflite
from tinycompress.ir.graph import QuantGraph
from tinycompress.kernels import KERNELS
from tinycompress.kernels.catalogue import Code
from tinycompress.passes import prepare_for_deployment
from tinycompress.plan.choose import SPARED_BYTES, WORTH, cheapest, spare_flash


def published(data_dir: Path, name: str) -> QuantGraph:
    graph = load_tflite(data_dir / "models" / "mlperf_tiny" / f"{name}.tflite")
    assert isinstance(graph, QuantGraph)
    return prepare_for_deployment(graph)


def test_a_packing_that_grows_flash_by_half_for_little_speed_is_left_out(data_dir: Path) -> None:
    graph = published(data_dir, "pretrainedResnet_quant")
    fastest = cheapest(graph, KERNELS, has_dsp=True)
    spared = spare_flash(fastest, graph)
    changed = [(a, b) for a, b in zip(fastest, spared, strict=True) if a.kernel is not b.kernel]
    assert [(a.op.name, a.kernel.name, b.kernel.name) for a, b in changed] == [
        ("conv_2d_8", "conv2d_polyphase_s8_dsp", "conv2d_s8_dsp")
    ]
    weights = [sum(c.packed.weights_bytes for c in choices) for choices in (fastest, spared)]
    instructions = [sum(c.instructions for c in choices) for choices in (fastest, spared)]
    saved, lost = 1 - weights[1] / weights[0], instructions[1] / instructions[0] - 1
    assert weights[0] - weights[1] >= SPARED_BYTES
    assert lost < WORTH * saved


@pytest.mark.parametrize("name", ["kws_ref_model", "vww_96_int8", "ad01_int8"])
def test_packings_that_pay_stay(name: str, data_dir: Path) -> None:
    graph = published(data_dir, name)
    fastest = cheapest(graph, KERNELS, has_dsp=True)
    assert spare_flash(fastest, graph) == fastest


def test_shared_code_counts_once() -> None:
    core = ("core", 700)
    layers = [Code(100, (core,)), Code(50, (core, ("other", 30)))]
    assert code_bytes(layers) == LIBRARY_CODE_BYTES + 2 * CALL_CODE_BYTES + 150 + 730
