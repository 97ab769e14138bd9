"""Generated CUDA: the same source compiled for the host, tensor cores emulated, equals the integer reference byte for
byte on every tensor; and nvcc takes it without a warning where there is one."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.oracle.random_graphs import STEPS, random_graph
from tests.unit.compress.networks import Net
from tests.unit.gpu.emulation import SANITIZERS, compile_host
from tinycompress.errors import ConfigError, DeviceError, UnsupportedOpError
from tinycompress.execute.reference import run
from tinycompress.gpu import masks as mk
from tinycompress.gpu.generate import generate_cuda, sparse_candidates, write_sweep
from tinycompress.gpu.operators import LOWER, obstacles
from tinycompress.gpu.program import NVCC_FLAGS, compile_cuda, find_nvcc, has_gpu, run_checked, run_program
from tinycompress.ir import ops as o
from tinycompress.ir.graph import QuantGraph, Rounding
from tinycompress.ir.verify import to_quant_graph
from tinycompress.quantize.ptq import quantize

KINDS = tuple(kind for kind in STEPS if kind in {op.__name__ for op in LOWER} | {"Reshape"})


def sparse(graph: QuantGraph) -> QuantGraph:
    pruned = mk.apply_masks(graph, mk.magnitude_masks(graph))
    assert isinstance(pruned, QuantGraph)
    return pruned


def residual() -> QuantGraph:
    """Rows beyond one tile, channels of every vector width, strides, and a classifier on the flattened image."""
    net = Net((9, 7, 3), 1)
    x = net.block("x", 20)
    x = net.block(x, 80, stride=2)
    x = net.relu(net.add(x, net.bn(net.conv(x, 80))))
    x = net.block(net.relu(net.bn(net.depthwise(x))), 144, 1)
    graph = net.graph(net.fc(net.flatten(x), 7))
    return quantize(graph, (np.random.default_rng(0).standard_normal((16, 9, 7, 3)).astype(np.float32),))


def differences(
    graph: QuantGraph, folder: Path, flags: tuple[str, ...] = (), *, gpu: bool = False, samples: int = 5
) -> list[str]:
    """Tensors of `samples` random inputs, run in batches of 3, that differ from the reference in any byte."""
    source = generate_cuda(graph, folder)
    binary = folder / "program"
    if gpu:
        compile_cuda(source.source, binary)
    else:
        compile_host(source.source, binary, flags)
    rng = np.random.default_rng(7)
    inputs = {n: rng.integers(-128, 128, (samples, *graph.tensors[n].shape)).astype(np.int8) for n in graph.input_names}
    found = run_program(binary, source, inputs, folder / "work", batch=3, keep_tensors=True, warmup=1, repeat=2)
    assert gpu or not any((found.network_us, *found.layer_us.values()))
    expected = run(graph, inputs)
    assert set(found.tensors) >= set(graph.outputs)
    wrong = [n for n, value in found.tensors.items() if not np.array_equal(value, expected.tensors[n])]
    return wrong + [n for n in graph.outputs if not np.array_equal(found.outputs[n], expected.outputs[n])]


def mixed(seed: int, rounding: Rounding = Rounding.DOUBLE) -> QuantGraph:
    """A long random graph of the operators that have CUDA kernels, convolution in groups among them."""
    for candidate in range(seed, seed + 50):
        graph = to_quant_graph(random_graph(candidate, KINDS, len(KINDS) + 6), rounding)
        if not obstacles(graph) and any(isinstance(op, o.Conv2D) and op.groups > 1 for op in graph.ops):
            return graph
    raise AssertionError("no such graph")


@pytest.mark.parametrize(("seed", "rounding"), [(100, Rounding.DOUBLE), (200, Rounding.SINGLE)])
def test_sparse24_generated_cuda_equals_the_reference_on_every_operator(
    seed: int, rounding: Rounding, tmp_path: Path
) -> None:
    assert differences(mixed(seed, rounding), tmp_path) == []


def test_sparse24_every_operator_with_a_kernel_is_in_the_random_graphs() -> None:
    assert set(LOWER) <= {type(op) for seed in (100, 200) for op in mixed(seed).ops}


def test_sparse24_sparse_network_equals_the_reference(tmp_path: Path) -> None:
    """Under sanitizers, and with launches of one or two samples: convolutions have 63 and 20 pixels a sample."""
    graph = sparse(residual())
    assert len(sparse_candidates(graph)) == 4
    assert differences(graph, tmp_path, (*SANITIZERS, "-DTC_GEMM_MOST_PIXELS=130")) == []


def test_sparse24_generation_repeats(tmp_path: Path) -> None:
    graph = sparse(residual())
    first, second = (generate_cuda(graph, tmp_path / name) for name in "ab")
    for path in sorted(first.directory.iterdir()):
        assert path.read_bytes() == (second.directory / path.name).read_bytes()


def test_sparse24_refuses_what_has_no_kernel(tmp_path: Path) -> None:
    graph = random_graph(3, ("SVDF", "FullyConnected"), 4)
    with pytest.raises(UnsupportedOpError, match=r"keeps state 'state\d+'; svdf_\d+: SVDF has no CUDA kernel") as error:
        generate_cuda(graph, tmp_path)
    assert error.value.code == "TC-M590"


def test_sparse24_refuses_a_dense_layer_as_sparse(tmp_path: Path) -> None:
    graph = residual()
    name = next(op.name for op in graph.ops if isinstance(op, o.FullyConnected))
    with pytest.raises(ConfigError, match="its weights are not 2:4") as error:
        generate_cuda(graph, tmp_path, sparse=(name,))
    assert error.value.code == "TC-C402"


def test_sparse24_names_and_files_cannot_break_the_program(tmp_path: Path) -> None:
    """A dense network equals the reference under names that no C or JSON would take as they are; then bad arguments."""
    graph = residual()
    ops = tuple(replace(op, name=f'{op.name}*/ "%s\\', source=("*/ int main(",)) for op in graph.ops)
    renamed = replace(graph, ops=ops, name='x"; */ main')
    assert sparse_candidates(renamed) == ()
    assert differences(renamed, tmp_path) == []
    binary = str(tmp_path / "program")
    (tmp_path / "short.bin").write_bytes(b"123")
    for arguments in (
        [], ["--input", "absent.bin", "--output", "o"], ["--input", "short.bin", "--output", "o"], ["--batch", "0"],
        ["--batch"], ["--colour", "red"],
    ):  # fmt: skip
        done = subprocess.run([binary, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2, arguments
        assert done.stderr.count("\n") == 1
    with pytest.raises(DeviceError, match="whole number of samples"):
        run_checked([binary, "--input", "short.bin", "--output", "o"], tmp_path)


BANKS = """
#include <set>
#include "tc_gpu_device.h"
#include "tc_gpu_gemm.h"

/* Words that the busiest of 32 banks has to serve for one access of some lanes. */
static size_t busiest(const std::vector<int32_t> &words)
{
    std::set<int32_t> banks[32];
    size_t most = 0;
    for (const int32_t word : words) {
        banks[word % 32].insert(word);
        most = std::max(most, banks[word % 32].size());
    }
    return most;
}

template <class TILE> static void count(const char *name)
{
    size_t store = 0, load = 0, stage = 0;
    for (int32_t quarter = 0; quarter < TILE::threads * TILE::chunks / 8; ++quarter) {
        std::vector<int32_t> words;
        for (int32_t index = 8 * quarter; index < 8 * quarter + 8; ++index) {
            for (int32_t i = 0; i < 4; ++i) {
                words.push_back((index / 4 * TILE::pitch + tc_swizzle(index / 4, index % 4)) / 4 + i);
            }
        }
        store = std::max(store, busiest(words));
    }
    for (int32_t i = 0; i < 4; ++i) {
        std::vector<int32_t> loaded, staged;
        for (int32_t lane = 0; lane < TC_LANES; ++lane) {
            loaded.push_back((lane / 4 * TILE::pitch + tc_swizzle(lane / 4, i) + tc_b_row(lane, i) % 16) / 4);
            staged.push_back((tc_acc_column(lane, i) * TILE::out_pitch + tc_acc_row(lane, i)) / 4);
        }
        load = std::max(load, busiest(loaded));
        stage = std::max(stage, busiest(staged));
    }
    printf("%s %zu %zu %zu\\n", name, store, load, stage);
}

int main()
{
    count<tc_tile_16x64>("16x64");
    count<tc_tile_64x64>("64x64");
    count<tc_tile_128x128>("128x128");
    return 0;
}
"""


def test_sparse24_no_shared_memory_access_uses_a_bank_twice(tmp_path: Path) -> None:
    """Stores of 16 bytes go by quarters of a warp, everything else by whole warps."""
    folder = write_sweep(tmp_path).parent
    (folder / "banks.cu").write_text(BANKS, encoding="utf-8")
    binary = compile_host(folder / "banks.cu", folder / "banks")
    printed = subprocess.run([str(binary)], capture_output=True, text=True, check=True).stdout
    assert printed == "16x64 1 1 1\n64x64 1 1 1\n128x128 1 1 1\n"


@pytest.fixture
def nvcc() -> Path:
    found = find_nvcc()
    if found is None:
        pytest.skip("nvcc is not installed: the generated CUDA was not compiled for a GPU")
    return found


STRICT = ("-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra,-Werror")


@pytest.mark.slow
@pytest.mark.usefixtures("nvcc")
def test_sparse24_generated_cuda_compiles(tmp_path: Path) -> None:
    """For all architectures, machine code included; warnings are errors, and so are registers spilled to memory."""
    source = generate_cuda(sparse(residual()), tmp_path)
    assert compile_cuda(source.source, tmp_path / "program", (*STRICT, "-Xptxas", "--warn-on-spills")).exists()


def test_sparse24_every_kernel_compiles(nvcc: Path, tmp_path: Path) -> None:
    source = generate_cuda(sparse(mixed(100)), tmp_path).source
    command = [str(nvcc), *NVCC_FLAGS, *STRICT, "-arch=compute_80", "-ptx", source.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_sparse24_kernels_use_both_tensor_core_instructions(nvcc: Path, tmp_path: Path) -> None:
    source = write_sweep(tmp_path)
    command = [str(nvcc), *NVCC_FLAGS, *STRICT, "-arch=compute_80", "-ptx", source.name, "-o", "sweep.ptx"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    text = (tmp_path / "sweep.ptx").read_text(encoding="utf-8")
    assert "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32" in text
    assert re.search(r"mma\.sp(::ordered_metadata)?\.sync\.aligned\.m16n8k64\.row\.col\.s32\.s8\.s8\.s32", text)


@pytest.fixture
def gpu(nvcc: Path) -> None:
    if not has_gpu():
        pytest.skip("no GPU: the generated CUDA was compiled but not run on one")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("is_sparse", [False, True])
def test_sparse24_network_on_a_gpu_equals_the_reference(is_sparse: bool, tmp_path: Path) -> None:
    assert differences(sparse(residual()) if is_sparse else residual(), tmp_path, gpu=True) == []


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("seed", [100, 200])
def test_sparse24_every_operator_on_a_gpu_equals_the_reference(seed: int, tmp_path: Path) -> None:
    assert differences(mixed(seed), tmp_path, gpu=True) == []
