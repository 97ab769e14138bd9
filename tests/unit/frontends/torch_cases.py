"""Small modules, one per thing that ordinary network code does; `IMAGE` and `SERIES` are their input shapes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


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
