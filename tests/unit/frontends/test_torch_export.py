"""Modules become graphs that compute what torch computes, without transposes around convolutions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tinycompress.errors import ModelError, UnsupportedOpError
from tinycompress.execute import float_reference
from tinycompress.execute.torch_module import GraphModule
from tinycompress.frontends.torch_export import import_module, import_program
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph
from tinycompress.passes import prepare_for_quantization, prepare_for_training


class Net(nn.Module):
    """A module from a forward function that gets the module."""

    def __init__(self, forward, **children: nn.Module | torch.Tensor) -> None:
        super().__init__()
        for name, child in children.items():
            if isinstance(child, torch.Tensor):
                self.register_buffer(name, child)
            else:
                self.add_module(name, child)
        self._forward = forward

    def forward(self, *x):
        return self._forward(self, *x)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Non-trivial batch-norm statistics and affine parameters."""
    torch.manual_seed(seed)
    for child in module.modules():
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(child.weight, 0.5, 1.5)
            nn.init.normal_(child.bias)
            nn.init.normal_(child.running_mean)
            nn.init.uniform_(child.running_var, 0.5, 2.0)
    return module.eval()


def to_internal(graph: Graph, x: torch.Tensor, index: int = 0) -> np.ndarray:
    given = graph.inputs[index]
    values = x.numpy()[0]
    if given.source_layout.startswith("C") and values.ndim > 1:
        values = np.moveaxis(values, 0, -1)
    return values.reshape(graph.tensor(given.tensor).shape)


def from_internal(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) >= 2 and values.shape != shape:
        values = np.moveaxis(values, -1, 0)
    return values.reshape(shape)


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
            wanted = expected.numpy()[0]
            got = from_internal(result.outputs[name], wanted.shape)
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=2e-5)
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


IMAGE = (1, 6, 9, 8)
SERIES = (1, 6, 20)

IMAGE_CASES = {
    "conv": Net(lambda m, x: m.c(x), c=nn.Conv2d(6, 4, 3, stride=2, padding=1)),
    "conv dilated": Net(lambda m, x: m.c(x), c=nn.Conv2d(6, 4, (3, 2), dilation=(2, 1), padding=(2, 1), bias=False)),
    "conv groups": Net(lambda m, x: m.c(x), c=nn.Conv2d(6, 9, 3, groups=3)),
    "depthwise multiplier": Net(lambda m, x: m.c(x), c=nn.Conv2d(6, 18, 3, groups=6, padding="same")),
    "same padding, even kernel": Net(lambda m, x: m.c(x), c=nn.Conv2d(6, 3, 4, padding="same")),
    "functional conv": Net(lambda m, x: F.conv2d(x, m.w * 0.5, padding=1), w=torch.randn(4, 6, 3, 3)),
    "transpose conv": Net(lambda m, x: m.c(x), c=nn.ConvTranspose2d(6, 3, 3, stride=2, padding=1, output_padding=1)),
    "flatten linear": Net(lambda m, x: m.l(torch.flatten(F.relu(x), 1)), l=nn.Linear(432, 5)),
    "view linear": Net(lambda m, x: m.l(m.d(x.view(x.size(0), -1)).relu()), l=nn.Linear(432, 5), d=nn.Dropout(0.1)),
    "reshape batch norm": Net(
        lambda m, x: m.l(m.b(x.reshape(1, 432))), b=nn.BatchNorm1d(432), l=nn.Linear(432, 5)
    ),
    "flatten plus constant": Net(lambda m, x: m.l(x.flatten(1) + m.k), l=nn.Linear(432, 5), k=torch.randn(432)),
    "flattened output": Net(lambda m, x: x.relu().flatten(1)),
    "flatten softmax": Net(lambda m, x: F.softmax(x.flatten(1), -1)),
    "unflatten": Net(lambda m, x: m.c(m.l(x.flatten(1)).view(-1, 2, 4, 4)), l=nn.Linear(432, 32), c=nn.Conv2d(2, 3, 3)),
    "there and back": Net(lambda m, x: m.c(x.flatten(1).view(x.shape)), c=nn.Conv2d(6, 3, 1)),
    "linear over channels": Net(lambda m, x: m.l(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), l=nn.Linear(6, 4)),
    "residual": Net(lambda m, x: F.relu(m.b(m.c(x)) + x), c=nn.Conv2d(6, 6, 3, padding=1), b=nn.BatchNorm2d(6)),
    "in-place residual": Net(lambda m, x: m.c(x).relu_().add_(x), c=nn.Conv2d(6, 6, 1)),
    "concat": Net(lambda m, x: torch.cat([m.c(x), x], 1), c=nn.Conv2d(6, 4, 3, padding=1)),
    "concat of flattened": Net(lambda m, x: torch.cat([x.flatten(1), x.mean((2, 3))], 1)),
    "chunk": Net(lambda m, x: torch.cat(x.chunk(2, 1)[::-1], 1)),
    "split": Net(lambda m, x: [p.relu() for p in x.split([1, 5], 1)]),
    "slices": Net(lambda m, x: x[:, 1:5:2, :-2, 3:]),
    "select": Net(lambda m, x: (x[:, 2], x[:, :, 0])),
    "squeeze-excite": Net(
        lambda m, x: x * torch.sigmoid(m.b(F.relu(m.a(F.adaptive_avg_pool2d(x, 1))))),
        a=nn.Conv2d(6, 2, 1),
        b=nn.Conv2d(2, 6, 1),
    ),
    "squeeze-excite by linear": Net(
        lambda m, x: x * F.hardsigmoid(m.a(x.mean([2, 3]))).view(1, 6, 1, 1), a=nn.Linear(6, 6)
    ),
    "normalise": Net(lambda m, x: (x - m.k) / m.k.abs() * 2 + 1 - x, k=torch.randn(6, 1, 1) + 3),
    "constant image": Net(lambda m, x: 1.5 - (x + m.k), k=torch.randn(1, 6, 9, 8)),
    "average pool": Net(lambda m, x: F.avg_pool2d(x, 2)),
    "average pool counts padding": Net(lambda m, x: F.avg_pool2d(x, 3, 2, 1)),
    "average pool ceil": Net(lambda m, x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True)),
    "average pool ceil uncounted": Net(lambda m, x: F.avg_pool2d(x, (3, 2), 2, 1, True, False)),
    "max pool ceil": Net(lambda m, x: F.max_pool2d(x, 2, ceil_mode=True)),
    "max pool padded": Net(lambda m, x: F.max_pool2d(x, 3, 2, 1)),
    "adaptive average": Net(lambda m, x: F.adaptive_avg_pool2d(x, (3, 4)).flatten(1)),
    "adaptive maximum": Net(lambda m, x: F.adaptive_max_pool2d(x, (3, 2))),
    "pad then conv": Net(lambda m, x: m.c(F.pad(x, (1, 2, 0, 1))), c=nn.Conv2d(6, 2, 3)),
    "pad value": Net(lambda m, x: m.c(F.pad(x, (1, 1, 1, 1), value=0.5)), c=nn.Conv2d(6, 2, 3)),
    "pad then max pool": Net(lambda m, x: F.max_pool2d(F.pad(x.relu(), (0, 1, 0, 1)), 3, 2)),
    "pad channels": Net(lambda m, x: F.pad(x, (0, 0, 0, 0, 1, 2)) * 2),
    "crop by padding": Net(lambda m, x: F.pad(x, (-1, 1, -2, 0))),
    "nearest": Net(lambda m, x: F.interpolate(x, scale_factor=2)),
    "bilinear": Net(lambda m, x: F.interpolate(x, size=(5, 12), mode="bilinear")),
    "bilinear corners": Net(lambda m, x: F.interpolate(x, size=(5, 12), mode="bilinear", align_corners=True)),
    "channel shuffle": Net(lambda m, x: m.c(F.channel_shuffle(x, 3)), c=nn.Conv2d(6, 4, 1)),
    "manual shuffle": Net(
        lambda m, x: m.c(x.view(1, 2, 3, 9, 8).transpose(1, 2).reshape(1, 6, 9, 8)), c=nn.Conv2d(6, 6, 3, groups=6)
    ),
    "transposed image": Net(lambda m, x: m.c(x.transpose(2, 3)), c=nn.Conv2d(6, 4, (3, 2))),
    "maximum": Net(lambda m, x: torch.maximum(x.relu(), torch.minimum(x, -x))),
    "pre-activation": Net(lambda m, x: m.c(F.relu(m.b(x))), c=nn.Conv2d(6, 4, 3, padding=1), b=nn.BatchNorm2d(6)),
    "prelu": Net(lambda m, x: m.p(x), p=nn.PReLU(6)),
    "prelu after flatten": Net(lambda m, x: m.l(m.p(x.flatten(1))), p=nn.PReLU(), l=nn.Linear(432, 3)),
    "softmax over channels": Net(lambda m, x: F.softmax(x, 1)),
    "softmax over width": Net(lambda m, x: F.log_softmax(x, 3)),
    "clamps": Net(lambda m, x: F.relu6(F.hardtanh(x, -2, 1.5).clamp(min=-1)) + x.clip(max=0.5)),
    "identity": Net(lambda m, x: m.d(x).contiguous().clone(), d=nn.Identity()),
    "several outputs": Net(lambda m, x: {"a": 1} and (x.relu(), x.mean((2, 3), keepdim=True), x.mean(3))),
    "product with constant": Net(lambda m, x: x.flatten(1) @ m.w, w=torch.randn(432, 3)),
    "unary": Net(
        lambda m, x: sum(
            f(x)
            for f in (
                F.silu, F.gelu, F.mish, F.elu, F.softplus, torch.exp, torch.abs, torch.neg, torch.square, torch.tanh,
                F.hardswish, F.leaky_relu, lambda y: F.gelu(y, approximate="tanh"),
                lambda y: (y.abs() + 1).log().sqrt(), lambda y: (y.square() + 1).rsqrt(), lambda y: y**2,
            )
        )
    ),
    "stack and unbind": Net(lambda m, x: torch.stack([x[:, 0], x[:, 3]], 1).unbind(1)[1]),
}  # fmt: skip

SERIES_CASES = {
    "conv1d": Net(lambda m, x: F.relu(m.b(m.c(x))), c=nn.Conv1d(6, 8, 5, stride=2, padding=2), b=nn.BatchNorm1d(8)),
    "depthwise 1d": Net(lambda m, x: m.c(x), c=nn.Conv1d(6, 6, 3, groups=6, dilation=2)),
    "pools 1d": Net(lambda m, x: F.adaptive_avg_pool1d(F.max_pool1d(m.c(x), 2), 3), c=nn.Conv1d(6, 4, 3)),
    "average pool 1d": Net(lambda m, x: F.avg_pool1d(m.c(x), 3, 2, 1), c=nn.Conv1d(6, 4, 3)),
    "flatten 1d": Net(lambda m, x: m.l(m.c(x).flatten(1)), c=nn.Conv1d(6, 4, 3), l=nn.Linear(72, 3)),
    "mean over time": Net(lambda m, x: m.l(m.c(x).mean(-1)), c=nn.Conv1d(6, 4, 3), l=nn.Linear(4, 3)),
    "residual 1d": Net(lambda m, x: m.c(x) + x, c=nn.Conv1d(6, 6, 3, padding="same")),
    "concat 1d": Net(lambda m, x: torch.cat([m.c(x), m.c(x).relu()], 1)[:, :, 2:9], c=nn.Conv1d(6, 6, 3)),
    "spectrogram": Net(lambda m, x: m.c(x.unsqueeze(1)), c=nn.Conv2d(1, 4, 3)),
    "linear over features": Net(lambda m, x: F.relu(m.l(x)), l=nn.Linear(20, 7)),
    "sequence to series": Net(lambda m, x: m.c(m.l(x).transpose(1, 2)), l=nn.Linear(20, 5), c=nn.Conv1d(5, 4, 3)),
    "pad time": Net(lambda m, x: m.c(F.pad(x, (2, 0))), c=nn.Conv1d(6, 4, 3)),
}


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
        self.norm = nn.LayerNorm(8)
        self.rnn = nn.LSTM(8, 4, batch_first=True)
        self.group = nn.GroupNorm(2, 6)

    def forward(self, x):
        y = self.group(x)
        return self.rnn(self.norm(y).mean(1))[0]


def test_all_unsupported_operators_are_named_at_once() -> None:
    with pytest.raises(UnsupportedOpError) as caught:
        import_module(Unsupported(), IMAGE)
    assert caught.value.code == "TC-M101"
    for name in ("norm (aten.layer_norm", "rnn (aten.lstm", "group (aten.group_norm"):
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
        lambda m, x: x.transpose(0, 1).relu(),
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


def test_a_module_that_fails_to_trace_says_so() -> None:
    with pytest.raises(ModelError) as caught:
        import_module(nn.Conv2d(3, 4, 3), IMAGE)
    assert caught.value.code == "TC-M100"
    assert "6 channels" in caught.value.what
