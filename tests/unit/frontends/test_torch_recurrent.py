"""nn.LSTM and nn.Embedding against torch, in float; and the way of such a network to integers and to C."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinycompress.emit import generate
from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.execute import float_reference, reference
from tinycompress.execute.torch_module import GraphModule
from tinycompress.frontends.torch_export import import_module
from tinycompress.ir.tensor import DType
from tinycompress.passes import prepare_for_deployment
from tinycompress.plan import plan
from tinycompress.quantize.ptq import quantize

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn

SHAPE = (1, 9, 5)


class Net(nn.Module):  # type: ignore[misc, name-defined]
    """An LSTM of five features, and what a function makes of its results."""

    def __init__(self, use: Callable[..., Any], features: int = 6, **settings: Any) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.lstm = nn.LSTM(5, 6, batch_first=True, **settings)
        self.head = nn.Linear(features, 4)
        self.use = use

    def forward(self, x: Any) -> Any:
        return self.use(self, *self.lstm(x))


def last(net: Any, y: Any, states: Any) -> Any:
    return net.head(y[:, -1])


CASES = {
    "last output": Net(last),
    "every output": Net(lambda m, y, s: m.head(y)),
    "hidden by index": Net(lambda m, y, s: m.head(s[0][-1]), num_layers=2),
    "hidden squeezed": Net(lambda m, y, s: m.head(s[0].squeeze(0))),
    "hidden transposed": Net(lambda m, y, s: m.head(s[0].transpose(0, 1).flatten(1)), 12, num_layers=2),
    "hidden of both directions": Net(
        lambda m, y, s: m.head(torch.cat([s[0][-2], s[0][-1]], 1)), 12, bidirectional=True
    ),
    "cell": Net(lambda m, y, s: s[1][0]),
    "stacked": Net(last, num_layers=3, dropout=0.2),
    "without bias": Net(last, bias=False),
    "both directions": Net(last, 12, bidirectional=True, num_layers=2),
    "mean over time": Net(lambda m, y, s: m.head(y.mean(1))),
}


@pytest.mark.parametrize("name", CASES)
def test_lstm_computes_what_torch_does(name: str) -> None:
    x = torch.randn(4, *SHAPE[1:], generator=torch.Generator().manual_seed(1))
    net = CASES[name].eval()
    graph = import_module(net, SHAPE)
    assert all(op.kind != "Transpose" for op in graph.ops)
    expected = net(x).detach().numpy()
    found = float_reference.run(graph, {graph.input_names[0]: x.numpy()}).output
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-6)
    trained = GraphModule(graph)(x).detach().numpy()
    np.testing.assert_allclose(trained.reshape(expected.shape), expected, atol=1e-6)
    assert [p for p in GraphModule(graph).parameters() if p.shape[:1] == (4,)]


@pytest.mark.parametrize("name", ["stacked", "both directions", "hidden by index"])
def test_lstm_becomes_integer_c(tmp_path: Path, name: str) -> None:
    x = torch.randn(60, *SHAPE[1:], generator=torch.Generator().manual_seed(2))
    net = CASES[name].eval()
    graph = import_module(net, SHAPE)
    quantized = prepare_for_deployment(quantize(graph, x.numpy()))
    host = generate(plan(quantized), tmp_path).host()
    (entry,) = quantized.input_names
    rng = np.random.default_rng(0)
    for sample in rng.integers(-128, 128, (4, *quantized.tensors[entry].shape)).astype(np.int8):
        expected = reference.run(quantized, {entry: sample}).output
        np.testing.assert_array_equal(host.run({entry: sample})[quantized.outputs[0]], expected)


class Words(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.table, self.lstm, self.head = nn.Embedding(30, 5), nn.LSTM(5, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, words: Any) -> Any:
        return self.head(self.lstm(self.table(words))[1][0][-1])


def test_embedding_takes_an_integer_input() -> None:
    net = Words().eval()
    graph = import_module(net, (1, 7))
    assert graph.ops[0].kind == "Embedding"
    (name,) = graph.input_names
    assert graph.tensors[name].dtype is DType.INT32
    words = torch.randint(0, 30, (5, 7), generator=torch.Generator().manual_seed(5))
    found = float_reference.run(graph, {name: words.numpy()}).output
    np.testing.assert_allclose(found, net(words).detach().numpy(), atol=1e-6)


def refused(net: Any, shape: tuple[int, ...] = SHAPE) -> ModelError:
    with pytest.raises(ModelError) as caught:
        import_module(net.eval(), shape)
    return caught.value


def test_what_an_lstm_cannot_do_is_refused_by_name() -> None:
    class Late(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, **settings: Any) -> None:
            super().__init__()
            self.rnn = nn.LSTM(5, 6, **settings)

        def forward(self, x: Any) -> Any:
            return self.rnn(x)[0]

    for settings, words in (({}, "time before the batch"), ({"batch_first": True, "proj_size": 2}, "projects")):
        error = refused(Late(**settings))
        assert isinstance(error, UnsupportedOpError)
        assert error.code == "TC-M101"
        assert words in error.what
        assert error.where == "rnn"
    gru = Late(batch_first=True)
    gru.rnn = nn.GRU(5, 6, batch_first=True)
    assert "nn.LSTM" in refused(gru).what


def test_pooling_states_by_layer_is_refused() -> None:
    error = refused(Net(lambda m, y, s: torch.nn.functional.max_pool1d(s[0], 2), num_layers=2))
    assert error.code == "TC-M102"
    assert error.where


def test_computing_with_indices_is_refused() -> None:
    class Shifted(Words):
        def forward(self, words: Any) -> Any:
            return super().forward(words + 1)

    assert "integers" in refused(Shifted(), (1, 7)).what
