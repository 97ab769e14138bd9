"""PyTorch as the peer: what is detected, and the whole timing path on this machine's CPU with CUDA pretended."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from tinycompress.gpu import peer
from tinycompress.gpu.peer import features, shape_obstacle, time_product

torch.set_num_threads(1)


def test_sparse24_peer_is_detected_not_assumed() -> None:
    found = features()
    assert found.torch == torch.__version__
    if not torch.cuda.is_available():
        assert found.reason == "PyTorch sees no GPU"
        assert [t.reason for t in time_product(64, 128, 32, "fp16")] == ["PyTorch sees no GPU"]
    assert shape_obstacle(24, 144, "fp16") == "24 rows are not a multiple of 16"
    assert shape_obstacle(32, 144, "fp16") == ""
    assert shape_obstacle(32, 144, "fp16", "cutlass") == "144 columns are not a multiple of 64"
    assert shape_obstacle(64, 144, "int8") == "144 columns are not a multiple of 32"
    assert shape_obstacle(16, 128, "int8") == ""


def test_sparse24_peer_units_are_those_of_this_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(backend, dtype) for backend in ("cusparselt", "cutlass") for dtype in ("fp16", "int8")]
    own = {pair: peer.units.__wrapped__(*pair) for pair in pairs}
    for name in peer._CLASSES.values():
        monkeypatch.delattr(torch.sparse, name)
    assert {pair: peer.units.__wrapped__(*pair) for pair in pairs} == own
    assert peer.features().backends == ()


@contextlib.contextmanager
def no_context(*_: object) -> Iterator[None]:
    yield


class Clock:
    """A pretended CUDA event: every one recorded is 0.1 ms after the last."""

    now = 0.0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        Clock.now += 0.1
        self.at = Clock.now

    def synchronize(self) -> None:
        """Nothing runs beside this process."""

    def elapsed_time(self, end: Clock) -> float:
        return end.at - self.at


class Packed:
    """A pretended semi-structured tensor: the dense one it was made from."""

    def __init__(self, dense: torch.Tensor) -> None:
        self.packed = dense


def wide_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    if a.dtype is torch.int8:
        return a.int() @ b.int()
    return (a.float() @ b.float()).half()


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU of pretended events, graphs and cuSPARSELt; CUTLASS says that it does not know the GPU."""

    def refuse(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("only for sm8x\nand a stack of lines")

    def multiply(packed: torch.Tensor, right: torch.Tensor, alg_id: int, **options: object) -> torch.Tensor:
        assert alg_id in (0, 7)
        assert options.get("out_dtype") == (torch.int32 if packed.dtype is torch.int8 else None)
        product = wide_product(packed, right)
        return product.t().contiguous() if options.get("transpose_result") else product

    monkeypatch.setattr(peer, "DEVICE", "cpu")
    monkeypatch.setattr(peer, "features", lambda: peer.Features("2", "13", 800, "pretended", tuple(peer._CLASSES), ""))
    for name, value in {
        "Event": Clock, "synchronize": lambda: None, "stream": no_context, "current_stream": lambda: None,
        "graph": no_context, "CUDAGraph": lambda: SimpleNamespace(replay=lambda: None),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.sparse, peer._CLASSES["cusparselt"], SimpleNamespace(from_dense=Packed))
    monkeypatch.setattr(torch.sparse, peer._CLASSES["cutlass"], SimpleNamespace(from_dense=refuse))
    monkeypatch.setattr(torch, "_cslt_sparse_mm_search", lambda *_, **__: 7)
    monkeypatch.setattr(torch, "_cslt_sparse_mm", multiply)
    peer.units.cache_clear()
    yield
    peer.units.cache_clear()


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("dtype", ["int8", "fp16"])
def test_sparse24_peer_times_every_form_and_keeps_the_fastest(dtype: str) -> None:
    first, second = time_product(64, 128, 33, dtype, warmup=1, repeat=3)
    assert (first.backend, first.reason) == ("cusparselt", "")
    assert first.dense_us == pytest.approx(10.0)
    assert first.sparse_us == pytest.approx(10.0)
    assert first.error is not None
    assert first.error <= (0 if dtype == "int8" else 1e-3)
    assert first.form.startswith("algorithm ")
    assert (second.backend, second.sparse_us, second.reason) == ("cutlass", None, "PyTorch: only for sm8x")
    assert second.dense_us == first.dense_us


@pytest.mark.usefixtures("cuda")
def test_sparse24_peer_weights_are_two_of_four() -> None:
    weights = peer.masked(32, 64, "fp16")
    assert (weights.view(32, -1, 4) != 0).sum(-1).eq(2).all()
    assert peer.masked(32, 64, "int8").dtype is torch.int8


@pytest.mark.usefixtures("cuda")
def test_sparse24_peer_passes_over_wrong_and_failing_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transposed result that is none, and an algorithm that fails, cost these forms only."""

    def multiply(packed: torch.Tensor, right: torch.Tensor, alg_id: int, **options: object) -> torch.Tensor:
        if alg_id == 7:
            raise RuntimeError("no such algorithm")
        return wide_product(packed, right)

    monkeypatch.setattr(torch, "_cslt_sparse_mm", multiply)
    assert time_product(64, 128, 64, "fp16", warmup=1, repeat=1)[0].form == "algorithm 0"
    monkeypatch.setattr(torch, "_cslt_sparse_mm", lambda packed, right, **_: wide_product(packed, right) + 9)
    (wrong, _) = time_product(64, 128, 64, "fp16", warmup=1, repeat=1)
    assert wrong.sparse_us is None
    assert "differs by" in wrong.reason


@pytest.mark.usefixtures("cuda")
def test_sparse24_peer_times_calls_that_cannot_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> object:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    calls: list[int] = []
    assert peer.time_us(lambda: calls.append(1), 2, 3) == pytest.approx(10.0)
    assert len(calls) == 2 + 1 + 4 * peer.CALLS


@pytest.mark.usefixtures("cuda")
def test_sparse24_peer_says_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8.00 GiB.")

    monkeypatch.setattr(peer, "masked", exhausted)
    found = time_product(64, 128, 64, "int8", warmup=1, repeat=1)
    assert {t.reason for t in found} == {"PyTorch: CUDA out of memory. Tried to allocate 8.00 GiB."}


def test_sparse24_peer_falls_back_to_the_public_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """With cuSPARSELt's own call where it is there, by the algorithm it names; else as any tensor is multiplied."""

    def dense_class(name: str, value: object) -> None:
        monkeypatch.setattr(torch.sparse, peer._CLASSES[name], SimpleNamespace(from_dense=lambda _: value))

    a, b = torch.ones(32, 64, dtype=torch.int32), torch.ones(64, 8, dtype=torch.int32)
    dense_class("cutlass", a)
    (form,) = peer.sparse_forms("cutlass", a, b)
    assert (form.work().unique().tolist(), form.name) == ([64], "")
    dense_class("cusparselt", SimpleNamespace(packed=a))
    monkeypatch.setattr(torch, "_cslt_sparse_mm_search", lambda *_, **__: 7)
    monkeypatch.setattr(torch, "_cslt_sparse_mm", lambda packed, right, alg_id, **_: packed @ right * alg_id)
    forms = {form.name: form for form in peer.sparse_forms("cusparselt", a, b)}
    assert list(forms) == ["algorithm 0", "algorithm 7", "algorithm 0, transposed", "algorithm 7, transposed"]
    assert forms["algorithm 7"].work().unique().tolist() == [448]
    monkeypatch.delattr(torch, "_cslt_sparse_mm")
    dense_class("cusparselt", a)
    (form,) = peer.sparse_forms("cusparselt", a, b)
    assert (form.work().unique().tolist(), form.name) == ([64], "")


@pytest.mark.usefixtures("cuda")
def test_sparse24_peer_writes_a_line_for_every_shape(capsys: pytest.CaptureFixture[str]) -> None:
    assert peer.main(["fp16", "64", "32x64x8"]) == 0
    first, *lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first["features"]["device"] == "pretended"
    assert [line["shape"] for line in lines] == [[64, 64, 64]] * 2 + [[32, 64, 8]] * 2
    assert {line["backend"] for line in lines} == {"cusparselt", "cutlass"}
    for wrong in ("0", "4x4", "four"):
        with pytest.raises(SystemExit):
            peer.main(["fp16", wrong])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU: its 2:4 products were not run")
@pytest.mark.parametrize("dtype", ["int8", "fp16"])
def test_sparse24_peer_on_a_gpu_multiplies_right(dtype: str) -> None:
    found = time_product(256, 512, 128, dtype, warmup=2, repeat=3)
    right = [t for t in found if not t.reason]
    assert right, [t.reason for t in found]
    assert all(t.dense_us and t.sparse_us and t.error is not None and t.error <= peer.MAX_ERROR for t in right)
