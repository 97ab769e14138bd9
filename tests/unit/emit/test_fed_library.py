"""Generated C whose input is fed by rows: the reference's bytes through every entry point, and no misuse unseen."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.emit.test_exactness import assert_exact, random_inputs
from tests.unit.emit.test_library import DIALECTS, compile_library
from tests.unit.emit.test_random_networks import random_network
from tests.unit.emit.test_simulate import random_samples
from tests.unit.plan.networks import Net, recurrent, residual
from tinycompress.emit import HostProgram, Program, generate
from tinycompress.emit.library import name_library
from tinycompress.emit.readback import read_back
from tinycompress.emit.simulate import simulate
from tinycompress.execute import reference
from tinycompress.frontends.tflite_model import load_tflite
from tinycompress.ir.fixedpoint import quantize_values
from tinycompress.ir.graph import GraphInput, Preprocess, QuantGraph
from tinycompress.ir.tensor import Array
from tinycompress.plan import plan
from tinycompress.plan.check import PlanFault

ERR_NULL, ERR_ARENA_SIZE, ERR_ARENA_ALIGN, ERR_ROWS = 1, 2, 3, 4


def camera() -> QuantGraph:
    """A small stateless network on an image of 8 rows."""
    net = Net("camera", 3)
    x = net.depthwise(net.conv(net.input(8, 6, 2, name="image"), 4, stride=2))
    graph = net.build(net.dense(net.flatten(x), 3))
    return replace(graph, inputs=(GraphInput("image", "CHW", "uint8", Preprocess(1 / 255, (0.5, 0.4), (0.2, 0.3))),))


def fed(graph: QuantGraph, folder: Path, *, has_dsp: bool = True) -> Program:
    return generate(plan(graph, has_dsp=has_dsp, schedule="streamed", feed="rows"), folder)


class Feeder:
    """One inference of a stateless library of one output, row by row, in an arena of its own full of garbage."""

    def __init__(self, host: HostProgram, program: Program) -> None:
        self.host, self.program = host, program
        raw = np.random.default_rng(7).integers(0, 256, program.arena_bytes + 64).astype(np.uint8)
        self._raw = raw
        self.arena = ctypes.c_void_p(raw.ctypes.data + -raw.ctypes.data % 16)
        self._row = self.function("row")
        self._row.restype = ctypes.c_void_p

    def function(self, name: str) -> ctypes._NamedFuncPointer:
        found: ctypes._NamedFuncPointer = getattr(self.host._library, f"{self.program.prefix}_{name}")
        return found

    def begin(self) -> int:
        return int(self.function("begin")(self.arena, ctypes.c_size_t(self.program.arena_bytes)))

    def slot(self) -> int | None:
        address: int | None = self._row(self.arena)
        return address

    def push(self, row: Array | None = None) -> int:
        slot = self.slot()
        if row is not None and slot is not None:
            data = np.ascontiguousarray(row)
            ctypes.memmove(slot, data.ctypes.data, data.nbytes)
        return int(self.function("push_row")(self.arena))

    def end(self, outputs: int = 16) -> tuple[int, Array]:
        made = np.zeros(outputs, np.int8)
        pointers = (ctypes.c_void_p * 1)(made.ctypes.data)
        return int(self.function("end")(pointers, self.arena)), made


def expected_output(graph: QuantGraph, x: Array) -> Array:
    (name,) = graph.outputs
    return reference.run(graph, {graph.input_names[0]: x}).outputs[name].ravel()


@pytest.mark.parametrize("seed", range(8))
def test_random_networks(tmp_path: Path, seed: int) -> None:
    graph = random_network(seed)
    assert_exact(fed(graph, tmp_path, has_dsp=seed % 2 == 0).host(), graph, 4)


@pytest.mark.parametrize("network", [residual, recurrent, camera])
def test_sanitized(tmp_path: Path, network: Callable[[], QuantGraph]) -> None:
    graph = network()
    program = fed(graph, tmp_path / "c")
    samples = random_samples(graph)
    made = simulate(program, samples, tmp_path / "simulate").outputs
    for index in range(len(samples[graph.input_names[0]])):
        expected = reference.run(graph, {name: values[index] for name, values in samples.items()}).outputs
        for name, values in made.items():
            np.testing.assert_array_equal(values[index], expected[name])


@pytest.mark.parametrize("model", ["pretrainedResnet_quant", "kws_ref_model", "vww_96_int8", "ad01_int8"])
def test_published_models(tmp_path: Path, data_dir: Path, model: str) -> None:
    graph = load_tflite(data_dir / "models" / "mlperf_tiny" / f"{model}.tflite")
    assert isinstance(graph, QuantGraph)
    made = plan(graph, schedule="streamed", feed="rows", state_budget=500)
    assert_exact(generate(made, tmp_path).host(), graph, 3)


def test_two_inferences_take_turns_and_one_begins_anew(tmp_path: Path) -> None:
    graph = camera()
    program = fed(graph, tmp_path)
    host = program.host()
    images = [random_inputs(graph, seed)["image"] for seed in (2, 3)]
    feeders = [Feeder(host, program) for _ in images]
    for feeder in feeders:
        assert feeder.begin() == 0
    for row in images[1][:5]:
        assert feeders[0].push(row) == 0
    assert feeders[0].begin() == 0
    for y in range(8):
        for feeder, image in zip(feeders, images, strict=True):
            assert feeder.push(image[y]) == 0
    for feeder, image in zip(feeders, images, strict=True):
        status, made = feeder.end()
        assert status == 0
        np.testing.assert_array_equal(made[:3], expected_output(graph, image))


def test_misuse_is_refused(tmp_path: Path) -> None:
    graph = camera()
    program = fed(graph, tmp_path)
    feeder = Feeder(program.host(), program)
    begin = feeder.function("begin")
    size = ctypes.c_size_t(program.arena_bytes)
    assert begin(None, size) == ERR_NULL
    assert begin(feeder.arena, ctypes.c_size_t(program.arena_bytes - 1)) == ERR_ARENA_SIZE
    assert begin(ctypes.c_void_p((feeder.arena.value or 0) + 8), size) == ERR_ARENA_ALIGN
    assert feeder.begin() == 0
    image = random_inputs(graph, 5)["image"]
    for y in range(8):
        assert feeder.end()[0] == ERR_ROWS
        assert feeder.push(image[y]) == 0
    assert feeder.slot() is None
    assert feeder.push() == ERR_ROWS
    assert feeder.function("push_row")(None) == ERR_NULL
    assert feeder._row(None) is None
    assert feeder.function("end")(None, feeder.arena) == ERR_NULL
    for _ in range(2):
        np.testing.assert_array_equal(feeder.end()[1][:3], expected_output(graph, image))


def test_state_is_kept_between_fed_inferences(tmp_path: Path) -> None:
    graph = recurrent()
    host = fed(graph, tmp_path).host()
    state = None
    for seed in range(2, 6):
        inputs = random_inputs(graph, seed)
        expected = reference.run(graph, inputs, state)
        state = expected.state
        np.testing.assert_array_equal(host.run(inputs)[graph.outputs[0]], expected.output)


def test_rows_are_quantized_like_the_whole_input(tmp_path: Path) -> None:
    graph = camera()
    host = fed(graph, tmp_path).host()
    preprocess = graph.inputs[0].preprocess
    user = np.random.default_rng(0).integers(0, 256, (8, 6, 2)).astype(np.float32)
    real = (user * np.float32(1 / 255) - np.array(preprocess.mean, np.float32)) / np.array(preprocess.std, np.float32)
    tensor = graph.tensors["image"]
    expected = quantize_values(real.astype(np.float32), tensor.quantization, tensor.dtype)
    whole, row = np.zeros((8, 6, 2), np.int8), np.zeros((6, 2), np.int8)
    planes = np.ascontiguousarray(user.transpose(2, 0, 1))
    host._library.camera_quantize_input(ctypes.c_void_p(planes.ctypes.data), ctypes.c_void_p(whole.ctypes.data))
    np.testing.assert_array_equal(whole, expected)
    for y in range(8):
        given = np.ascontiguousarray(user[y])
        host._library.camera_quantize_row(ctypes.c_void_p(given.ctypes.data), ctypes.c_void_p(row.ctypes.data))
        np.testing.assert_array_equal(row, expected[y])


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("network", [camera, recurrent])
def test_clean_under_both_compilers_as_c_and_cpp(
    tmp_path: Path, dialect: str, network: Callable[[], QuantGraph]
) -> None:
    compile_library(DIALECTS[dialect], fed(network(), tmp_path), tmp_path)


def test_generated_text(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    fed(camera(), tmp_path, has_dsp=False)
    for name in ("camera.h", "camera.c"):
        golden(f"generated/{name}", (tmp_path / name).read_text())


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"(camera_program\[\d+\] = \{\s*(?:/\*.*?\*/)\s*)3", r"\g<1>2"),
        (r"(CAMERA_PROGRESS = )(\d+)", r"\g<1>1\g<2>"),
        (r"(camera_image_words\[8\] = \{\s*)(\d+)u", r"\g<1>1\g<2>u"),
    ],
)
def test_text_that_differs_from_the_plan_is_refused(tmp_path: Path, pattern: str, replacement: str) -> None:
    made = plan(camera(), has_dsp=False, schedule="streamed", feed="rows")
    generate(made, tmp_path)
    text = (tmp_path / "camera.c").read_text()
    broken = re.sub(pattern, replacement, text, count=1, flags=re.DOTALL)
    assert broken != text
    with pytest.raises(PlanFault):
        read_back(broken, made, name_library(made))
