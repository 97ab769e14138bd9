"""Modules become graphs that compute what torch computes, without transposes around convolutions."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.unit.frontends.torch_cases import IMAGE, IMAGE_CASES, SERIES, SERIES_CASES, Net, randomise
from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.execute import float_reference
from tinycompress.execute.torch_module import GraphModule
from tinycompress.frontends.torch_export import import_module, import_program
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.ir.inputs import to_source_layout
from tinycompress.passes import prepare_for_quantization, prepare_for_training


def to_internal(graph: Graph, x: torch.Tensor, index: int = 0) -> np.ndarray:
    given = graph.inputs[index]
    values = x.numpy()[0]
    if given.source_layout.startswith("C") and values.ndim > 1:
        values = np.moveaxis(values, 0, -1)
    return values.reshape(graph.tensor(given.tensor).shape)


def from_internal(values: np.ndarray, graph: Graph, output: str) -> np.ndarray:
    return to_source_layout(values[np.newaxis], graph.output_layout(output))[0]


def check(module: nn.Module, *shapes: tuple[int, ...], seed: int = 0) -> Graph:
    """Imported, training and quantization forms agree with torch; returns the imported graph."""
    module = randomise(module, seed)
    graph = import_module(module, shapes)
    inputs = [torch.randn(shape, generator=torch.Generator().manual_seed(seed + 1)) for shape in shapes]
    with torch.no_grad():
        found = module(*[x.clone() for x in inputs])
    outputs = found if isinstance(found, (list, tuple)) else [found]
    for form in (graph, prepare_for_training(graph), prepare_for_quantization(graph)):
        fed = {form.inputs[i].tensor: to_internal(form, x, i) for i, x in enumerate(inputs)}
        result = float_reference.run(form, fed)
        assert len(outputs) == len(form.outputs)
        for name, expected in zip(form.outputs, outputs, strict=True):
            got = from_internal(result.outputs[name], form, name)
            assert got.shape == tuple(expected.shape[1:])
            np.testing.assert_allclose(got, expected.numpy()[0], rtol=1e-4, atol=2e-5)
        check_trainable_form(form, fed, [result.outputs[name] for name in form.outputs])
    return graph


def check_trainable_form(graph: Graph, fed: dict[str, np.ndarray], expected: list[np.ndarray]) -> None:
    """The graph as a module computes the same, and gives the same constants back."""
    module = GraphModule(graph).eval()
    with torch.no_grad():
        found = module(*[torch.tensor(fed[i.tensor])[None] for i in graph.inputs])
    for got, wanted in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
        np.testing.assert_allclose(got.numpy()[0], wanted, rtol=1e-4, atol=2e-5)
    back = module.to_graph()
    assert back.ops == graph.ops
    for name, tensor in graph.tensors.items():
        if tensor.is_constant:
            np.testing.assert_array_equal(back.tensor(name).constant, tensor.constant)


def kinds(graph: Graph) -> Counter[str]:
    return Counter(op.kind for op in graph.ops)


@pytest.mark.parametrize("name", IMAGE_CASES)
def test_image_module_computes_the_same(name: str) -> None:
    check(IMAGE_CASES[name], IMAGE)


@pytest.mark.parametrize("name", SERIES_CASES)
def test_series_module_computes_the_same(name: str) -> None:
    check(SERIES_CASES[name], SERIES)


def test_two_inputs_and_a_broadcast() -> None:
    net = Net(lambda m, x, y: m.c(x) * y.view(1, 6, 1, 1), c=nn.Conv2d(6, 6, 1))
    graph = check(net, IMAGE, (1, 6))
    assert [i.source_layout for i in graph.inputs] == ["CHW", "C"]


def test_inputs_by_name_keep_their_names() -> None:
    class Two(nn.Module):
        def forward(self, image, scale):
            return image * scale.view(1, 6, 1, 1)

    graph = import_module(Two(), {"image": IMAGE, "scale": (1, 6)})
    assert graph.input_names == ("image", "scale")


def test_channels_last_input_needs_no_transpose() -> None:
    graph = check(Net(lambda m, x: m.c(x.permute(0, 3, 1, 2)), c=nn.Conv2d(8, 4, 3)), IMAGE)
    assert graph.inputs[0].source_layout == "HWC"
    assert kinds(graph) == {"Conv2D": 1}


@pytest.mark.parametrize(
    "name", ["flatten linear", "view linear", "reshape batch norm", "flatten plus constant", "there and back"]
)
def test_flatten_permutes_constants_instead_of_data(name: str) -> None:
    graph = import_module(IMAGE_CASES[name].eval(), IMAGE)
    assert kinds(graph)["Transpose"] == 0


def test_series_are_time_by_rows() -> None:
    graph = import_module(SERIES_CASES["conv1d"].eval(), SERIES)
    assert graph.inputs[0].source_layout == "CT"
    assert graph.tensor(graph.outputs[0]).shape == (10, 1, 8)


def test_batch_norm_and_dropout_stay_for_training() -> None:
    net = nn.Sequential(nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
    graph = import_module(net, IMAGE)
    assert [op.kind for op in graph.ops] == ["Conv2D", "BatchNorm", "Clamp", "Dropout"]
    assert [op.kind for op in prepare_for_quantization(graph).ops] == ["Conv2D"]
    assert net.training, "the user's module is not touched"


def test_names_are_those_of_the_users_modules() -> None:
    net = nn.Sequential()
    net.add_module("stem", nn.Sequential(nn.Conv2d(6, 4, 3), nn.ReLU()))
    graph = import_module(net, IMAGE, "My Net")
    assert graph.name == "my_net"
    assert graph.ops[0].name == "stem_0"
    assert graph.ops[0].source == ("stem.0",)
    assert isinstance(graph.ops[0], o.Conv2D)
    assert graph.tensor(graph.ops[0].weights).source == "stem.0.weight"


class Unsupported(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(4)
        self.rnn = nn.GRU(8, 4, batch_first=True)
        self.group = nn.GroupNorm(2, 6)

    def forward(self, x):
        y = self.group(x)
        return self.rnn(self.norm(y).mean(1))[0]


def test_all_unsupported_operators_are_named_at_once() -> None:
    with pytest.raises(UnsupportedOpError) as caught:
        import_module(Unsupported(), IMAGE)
    assert caught.value.code == "TC-M101"
    for name in ("norm (aten.instance_norm", "rnn (aten.gru", "group (aten.group_norm"):
        assert name in caught.value.what
    assert "BatchNorm" in caught.value.what


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (Net(lambda m, x: F.pad(x, (1, 1, 1, 1), mode="reflect")), "reflect"),
        (Net(lambda m, x: F.adaptive_avg_pool2d(x, 5)), "unequal"),
        (Net(lambda m, x: F.avg_pool2d(x, 2, divisor_override=3)), "divisor_override"),
        (Net(lambda m, x: F.max_pool2d(x, 2, dilation=2)), "dilated"),
        (Net(lambda m, x: x / (x.abs() + 1)), "division"),
        (Net(lambda m, x: x + torch.rand(1)), "random"),
        (Net(lambda m, x: x.pow(3)), "power"),
        (Net(lambda m, x: x.long().float()), "conversion to torch.int64"),
        (Net(lambda m, x: F.interpolate(x, scale_factor=1.3)), "between pixels"),
        (Net(lambda m, x: F.dropout(x)), "stays active"),
        (Net(lambda m, x: m.b(x), b=nn.BatchNorm2d(6, track_running_stats=False)), "statistics"),
        (Net(lambda m, x: F.conv2d(x, x[:, :, :3, :3])), "computed by the network"),
    ],
)
def test_refusals_say_why(net: nn.Module, reason: str) -> None:
    with pytest.raises(UnsupportedOpError, match=reason):
        import_module(net, IMAGE)


def test_in_place_change_behind_a_view_is_refused() -> None:
    def forward(m, x):
        y = m.c(x)
        view = y.flatten(1)
        y.relu_()
        return view

    with pytest.raises(UnsupportedOpError, match="in-place"):
        import_module(Net(forward, c=nn.Conv2d(6, 4, 1)), IMAGE)


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: x.mean(0),
        lambda m, x: x.flatten(),
        lambda m, x: F.softmax(x, 0),
        lambda m, x: torch.cat([x, x], 0),
        lambda m, x: F.max_pool2d(x.transpose(0, 1), 3),
        lambda m, x: x.squeeze().relu() if x.shape[0] == 1 else x,
    ],
)
def test_mixing_the_batch_is_refused(forward) -> None:
    with pytest.raises(ModelError) as caught:
        import_module(Net(forward), IMAGE)
    assert caught.value.code == "TC-M102"
    assert caught.value.where


@pytest.mark.parametrize("shape", [(1, -1, 8, 8), (1, 3, 0, 8), (1, None, 4, 4), ()])
def test_dynamic_shapes_are_refused(shape) -> None:
    with pytest.raises(ModelError) as caught:
        import_module(nn.Conv2d(3, 4, 3), shape)
    assert caught.value.code == "TC-M103"


@pytest.mark.parametrize(
    ("net", "shape", "inside"),
    [
        (nn.Conv2d(3, 4, 3), (3, 8, 9), (8, 9, 3)),
        (nn.Conv2d(1, 4, 3), (1, 8, 9), (8, 9, 1)),
        (nn.Conv1d(3, 4, 3), (1, 3, 9), (9, 1, 3)),
        (nn.Linear(7, 2), (7,), (7,)),
        (nn.Linear(1, 2), (1, 1), (1,)),
    ],
)
def test_shapes_come_with_or_without_the_batch(net, shape, inside) -> None:
    graph = import_module(net, shape)
    assert graph.tensor(graph.input_names[0]).shape == inside


def test_dynamic_export_is_refused() -> None:
    batch, height = torch.export.Dim.STATIC, torch.export.Dim("height", min=4, max=64)
    program = torch.export.export(
        nn.Conv2d(3, 4, 3), (torch.zeros(1, 3, 8, 8),), dynamic_shapes=((batch, None, height, None),)
    )
    with pytest.raises(ModelError) as caught:
        import_program(program, "net")
    assert caught.value.code == "TC-M103"


def test_nan_weights_are_refused() -> None:
    net = nn.Conv2d(6, 4, 3)
    with torch.no_grad():
        net.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ModelError) as caught:
        import_module(net, IMAGE)
    assert caught.value.code == "TC-M004"


def test_branches_on_data_are_refused_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError) as caught:
        import_module(Net(lambda m, x: x.relu() if x.sum() > 0 else x), IMAGE)
    assert caught.value.code == "TC-M100"
    assert "data-dependent" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_the_reading_of_a_shape_that_fails_first_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grey image without batch: torch logs the error of the reading that takes its channel for the batch."""
    said: list[logging.LogRecord] = []
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    monkeypatch.setattr(logger, "handle", said.append)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 2))
    assert import_module(net, (1, 8, 8)).tensors
    assert said == []


class Tied(nn.Module):
    """One weight in two layers, a buffer that is not saved, and a tensor that is neither."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.randn(6, 1, 1), persistent=False)
        self.scale = torch.randn(6, 1, 1)
        self.first = nn.Conv2d(6, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.second.weight = self.first.weight

    def forward(self, x):
        x = self.second(self.first(x * self.scale + self.shift))
        return self.first(x)


def test_tied_weights_and_plain_tensors_are_found() -> None:
    graph = check(Tied(), IMAGE)
    assert kinds(graph)["Conv2D"] == 3


def test_a_module_that_fails_to_trace_says_so() -> None:
    with pytest.raises(ModelError) as caught:
        import_module(nn.Conv2d(3, 4, 3), IMAGE)
    assert caught.value.code == "TC-M100"
    assert "6 channels" in caught.value.what
