"""Whole networks on the emulated target: every tensor equals the reference, both emulators count the same.

Counts are stored and may move by 2 %: a change of kernels, planner or compiler that moves one shows up here
(`--update-golden` rewrites them when that was meant).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import tinycompress as tc
from tinycompress.ir import store
from tinycompress.zoo import ZOO

pytestmark = pytest.mark.slow

COUNTS = Path(__file__).parent / "counts.json"
TOLERANCE = 0.02
MLPERF_TINY = {
    "ic": "pretrainedResnet_quant.tflite",
    "kws": "kws_ref_model.tflite",
    "vww": "vww_96_int8.tflite",
    "ad": "ad01_int8.tflite",
}
SMALL = {
    "micro_speech": "tflite_micro/micro_speech_quantized.tflite",
    "keyword_svdf": "tflite_micro/keyword_scrambled_8bit.tflite",
    "mnist_qdq": "derived/mnist_int8_qdq.onnx",
}
"""Networks of TensorFlow Lite Micro and ONNX Runtime: a depthwise layer with a multiplier, SVDF, biases added apart."""
DEPLOYABLE = [name for name, network in ZOO.items() if network.is_deployable]


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def deployed(source: str | Path, folder: Path, engine: str, toolchain: str, **settings: object) -> tc.Report:
    report = tc.deploy(
        source,
        emulate=True,
        engine=engine,
        run=folder / f"{engine}-{toolchain}",
        settings={"deploy.samples": 2, "build.toolchain": toolchain, **settings},
    )
    assert report.validation.mismatching_bytes == 0
    states = sum(layer.op == "SVDF" for layer in report.layers)  # which have a second output
    assert report.validation.tensors == len(report.layers) + states
    assert report.counted is not None
    return report


def compare_with_stored(name: str, instructions: int, request: pytest.FixtureRequest) -> None:
    stored = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    if request.config.getoption("--update-golden"):
        stored[name] = instructions
        COUNTS.write_text(json.dumps(dict(sorted(stored.items())), indent=1) + "\n")
        return
    assert name in stored, f"no stored count for {name}: it was {instructions}"
    assert abs(instructions - stored[name]) <= TOLERANCE * stored[name], (
        f"{name}: {instructions} against {stored[name]}"
    )


@pytest.mark.parametrize("name", MLPERF_TINY)
@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_mlperf_tiny_in_both_emulators(
    name: str, toolchain: str, data_dir: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    needs("qemu-system-arm")
    if toolchain == "gcc":
        needs("arm-none-eabi-gcc")
    model = data_dir / "models" / "mlperf_tiny" / MLPERF_TINY[name]
    unicorn = deployed(model, tmp_path, "unicorn", toolchain)
    qemu = deployed(model, tmp_path, "qemu", toolchain)
    assert unicorn.counted == qemu.counted
    assert unicorn.counted is not None
    compare_with_stored(f"{name}-{toolchain}", unicorn.counted.instructions, request)


@pytest.mark.parametrize("name", SMALL)
def test_small_published_networks(name: str, data_dir: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    report = deployed(data_dir / "models" / SMALL[name], tmp_path, "unicorn", "zig")
    assert report.counted is not None
    compare_with_stored(name, report.counted.instructions, request)


@pytest.mark.parametrize("name", DEPLOYABLE)
def test_zoo_in_both_emulators(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    needs("qemu-system-arm")
    graph = store.save(calibrated(name), tmp_path / "graph")
    unicorn = deployed(graph, tmp_path, "unicorn", "zig")
    qemu = deployed(graph, tmp_path, "qemu", "zig")
    assert unicorn.counted == qemu.counted
    assert unicorn.counted is not None
    compare_with_stored(f"zoo-{name}", unicorn.counted.instructions, request)


def calibrated(name: str) -> tc.QuantGraph:
    """A zoo network with seeded weights, calibrated on seeded noise."""
    torch.manual_seed(0)
    graph = tc.load(ZOO[name].build())
    (entry,) = graph.input_names
    noise = np.random.default_rng(0).standard_normal((8, *graph.tensors[entry].shape)).astype(np.float32)
    return tc.quantize(graph, noise)


@pytest.mark.parametrize("name", ["ic", "kws", "vww"])
def test_streamed_networks_are_exact_and_small(
    name: str, data_dir: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = data_dir / "models" / "mlperf_tiny" / MLPERF_TINY[name]
    report = deployed(model, tmp_path, "unicorn", "zig", **{"plan.schedule": "streamed"})
    assert report.ram.total_bytes <= {"ic": 13_000, "kws": 4_500, "vww": 28_500}[name]
    assert report.counted is not None
    compare_with_stored(f"{name}-streamed", report.counted.instructions, request)


@pytest.mark.parametrize("name", ["ic", "kws", "vww"])
def test_networks_fed_by_rows_are_exact_and_smaller(
    name: str, data_dir: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = data_dir / "models" / "mlperf_tiny" / MLPERF_TINY[name]
    report = deployed(model, tmp_path, "unicorn", "zig", **{"plan.schedule": "streamed", "plan.feed": "rows"})
    assert report.ram.total_bytes <= {"ic": 11_500, "kws": 4_100, "vww": 12_000}[name]
    assert any("fed by rows" in note for note in report.notes)
    assert report.counted is not None
    compare_with_stored(f"{name}-fed", report.counted.instructions, request)


@pytest.mark.parametrize(("name", "feed", "ram_bytes"), [("vww", "rows", 11 * 1024), ("ad", "whole", 768)])
def test_a_budget_below_the_fast_kernels_is_kept_exactly(
    name: str, feed: str, ram_bytes: int, data_dir: Path, tmp_path: Path
) -> None:
    model = data_dir / "models" / "mlperf_tiny" / MLPERF_TINY[name]
    report = deployed(model, tmp_path, "unicorn", "zig", **{"plan.feed": feed, "budget.ram_bytes": ram_bytes})
    assert report.ram.total_bytes <= ram_bytes


def test_multiply_accumulate_pairs_are_in_the_machine_code(data_dir: Path, tmp_path: Path) -> None:
    """SMLAD stands in the code that convolution, depthwise convolution and fully connected layers run."""
    found: dict[str, set[str]] = {}
    for name in ("kws", "ad"):
        settings = {"deploy.samples": 1}
        tc.deploy(
            data_dir / "models" / "mlperf_tiny" / MLPERF_TINY[name],
            emulate=True,
            run=tmp_path / name,
            settings=settings,
        )
        found[name] = functions_with("smlad", tmp_path / name / "firmware" / "out" / "firmware.elf")
    assert any("gemm" in f or "conv" in f for f in found["kws"]), found["kws"]
    assert any("depthwise" in f for f in found["kws"]), found["kws"]
    assert any(f.startswith("tc_fc") for f in found["ad"]), found["ad"]


def functions_with(mnemonic: str, elf: Path) -> set[str]:
    """Names of the functions of an ELF whose code has an instruction that begins with `mnemonic`."""
    import capstone
    from elftools.elf.elffile import ELFFile

    machine = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    machine.skipdata = True
    with elf.open("rb") as file:
        image = ELFFile(file)
        table = image.get_section_by_name(".symtab")
        functions = sorted(
            (s["st_value"] & ~1, s.name) for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FUNC"
        )
        names: set[str] = set()
        for section in image.iter_sections():
            if section["sh_flags"] & 0x4 and section["sh_size"]:
                for instruction in machine.disasm(section.data(), section["sh_addr"]):
                    if instruction.mnemonic.startswith(mnemonic):
                        names.add(max((f for f in functions if f[0] <= instruction.address), default=(0, "?"))[1])
    return names
