"""Quantization-aware training: fake quantization inside a GraphModule, a short training loop, and the way to integers.

Two methods (METHODS B4.5). ``tflite``: activation ranges are moving averages of each batch's extremes, weight scales
follow the largest weight of their channel. ``lsq``: scales are learned with the gradient of Esser et al. (arXiv
1902.08153), in the log domain so that one learning rate serves weights and scales; zero points stay as calibrated.
Batch norm is folded before training starts, so its statistics are frozen throughout. Which activations share a scale,
and how constants become integers, is decided by the functions that post-training quantization uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tinycompress.errors import ModelError, QualityError, UnsupportedOpError
from tinycompress.execute.torch_module import Batch, GraphModule, parts, take
from tinycompress.ir import ops as o
from tinycompress.ir.graph import Graph, QuantGraph, Rounding
from tinycompress.ir.tensor import QParams
from tinycompress.passes import prepare_for_quantization
from tinycompress.quantize.calibrate import Calibration, calibration_inputs, observe
from tinycompress.quantize.constants import WEIGHTED, WeightedOp, output_axis
from tinycompress.quantize.observers import Range
from tinycompress.quantize.ptq import WeightSettings, require_quantizable, with_parameters
from tinycompress.quantize.ranges import (
    SMALLEST_SCALE,
    WEIGHT_LIMIT,
    Scales,
    WeightScales,
    activation_qparams,
    weight_scales,
)
from tinycompress.quantize.sharing import activation_parameters, given_parameters, scale_groups

METHODS = ("tflite", "lsq")
EMA_DECAY = 0.99
LOW, HIGH = -128, 127


def fake_quantize(x: Tensor, scale: Tensor, zero_point: int, low: int = LOW, high: int = HIGH) -> Tensor:
    """scale · (clamp(round(x / scale) + zero_point) − zero_point), with the LSQ gradients.

    The gradient of x is 1 inside the range and 0 outside; that of `scale` is round(x/scale) − x/scale inside and
    low − zero_point or high − zero_point outside. `scale` broadcasts.
    """
    ratio = torch.clamp(x / scale, low - zero_point, high - zero_point)
    rounded = ratio + (torch.round(ratio) - ratio).detach()
    return rounded * scale


def scale_gradient(scale: Tensor, elements: int, high: int) -> Tensor:
    """`scale` itself, with its gradient multiplied by 1 / sqrt(elements · high) (LSQ's balance of step sizes)."""
    factor = 1.0 / math.sqrt(elements * high)
    return scale * factor + (scale * (1.0 - factor)).detach()


@dataclass(frozen=True)
class LearnedWeights(WeightSettings):
    """Weight scales per operator, as training left them."""

    scales: dict[str, Scales]

    def method_for(self, op: o.Op) -> WeightScales:
        found = self.scales.get(op.name)
        return self.method if found is None else lambda rows: np.maximum(found, SMALLEST_SCALE)


def _require_trainable(graph: Graph) -> None:
    """UnsupportedOpError TC-M421 for operators whose inside is not simulated."""
    found = [f"{op.name} ({op.kind})" for op in graph.ops if isinstance(op, o.LSTM | o.Embedding)]
    if found:
        raise UnsupportedOpError(
            "TC-M421",
            f"operators that quantization-aware training does not simulate: {', '.join(found)}",
            fix="quantize after training: set qat.epochs to 0",
        )


class QatQuantizer(nn.Module):
    """The fake quantizer of one folded graph; trains and saves with the GraphModule that holds it.

    `parameters_now` and `weights_now` say what a conversion would use at this moment. After `freeze` nothing changes
    any more but the weights.
    """

    low: Tensor
    high: Tensor

    def __init__(self, graph: Graph, calibration: Calibration, method: str, weights: str, activations: str) -> None:
        super().__init__()
        if method not in METHODS:
            raise ModelError("TC-M420", f"no training quantizer {method!r}", fix=f"one of {', '.join(METHODS)}")
        require_quantizable(graph)
        _require_trainable(graph)
        self.graph = graph
        self.method = method
        self.is_frozen = False
        self.settings = WeightSettings(weight_scales(weights), per_channel=True, per_channel_fc=True)
        ranges = observe(graph, calibration_inputs(graph, calibration), activations)
        self._calibrated = activation_parameters(graph, ranges)
        given = given_parameters(graph)
        groups = scale_groups(graph, given)
        is_fixed = {groups.find(n) for n, g in given.items() if self._calibrated.get(n) == g.qparams}
        self._names = list(self._calibrated)
        self._group = {n: groups.find(n) for n in self._names}
        limits = [ranges[n] if n in ranges else _extremes(graph, n) for n in self._names]
        self._trained = [g for g in dict.fromkeys(self._group.values()) if g not in is_fixed]
        self._index = {g: i for i, g in enumerate(self._trained)}
        self.register_buffer("low", torch.tensor([float(low) for low, _ in limits]))
        self.register_buffer("high", torch.tensor([float(high) for _, high in limits]))
        self._weighted = [op for op in graph.ops if isinstance(op, WEIGHTED)]
        self._weight_index = {op.name: i for i, op in enumerate(self._weighted)}
        self._initial = [torch.from_numpy(self._initial_scales(op)).float() for op in self._weighted]
        is_learned = method == "lsq"
        self.activation_steps = nn.Parameter(torch.zeros(len(self._trained)), requires_grad=is_learned)
        self.weight_steps = nn.ParameterList(
            nn.Parameter(torch.zeros_like(s), requires_grad=is_learned) for s in self._initial
        )

    def _initial_scales(self, op: WeightedOp) -> Scales:
        weights = self.graph.tensors[op.weights].constant
        rows = np.moveaxis(weights, output_axis(op), 0).reshape(weights.shape[output_axis(op)], -1)
        return self.settings.method(rows.astype(np.float64))

    def freeze(self) -> None:
        """Ranges and scales stay as they are from now on."""
        self.is_frozen = True
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def activation(self, name: str, value: Tensor) -> Tensor:
        """The activation `name` on its int8 grid; in training, `tflite` ranges follow the values."""
        qparams = self._calibrated.get(name)
        if qparams is None:
            return value
        group = self._group[name]
        index = self._index.get(group)
        if index is None:
            return fake_quantize(value, value.new_tensor(qparams.tensor_scale), qparams.tensor_zero_point)
        if self.method == "lsq":
            step = torch.exp(self.activation_steps[index]) * qparams.tensor_scale
            scale = scale_gradient(step, value[0].numel(), HIGH)
            return fake_quantize(value, scale, qparams.tensor_zero_point)
        if self.training and not self.is_frozen:
            self._follow(name, value.detach())
        qparams = self._range_parameters(group)
        return fake_quantize(value, value.new_tensor(qparams.tensor_scale), qparams.tensor_zero_point)

    def _follow(self, name: str, value: Tensor) -> None:
        i = self._names.index(name)
        self.low[i] = EMA_DECAY * self.low[i] + (1 - EMA_DECAY) * value.min()
        self.high[i] = EMA_DECAY * self.high[i] + (1 - EMA_DECAY) * value.max()

    def _range_parameters(self, group: str) -> QParams:
        members = [i for i, n in enumerate(self._names) if self._group[n] == group]
        return activation_qparams(float(self.low[members].min()), float(self.high[members].max()))

    def constant(self, op: o.Op, field: str, value: Tensor) -> Tensor:
        """Weights on their int8 grid, per output channel; other constants as they are."""
        if field != "weights" or not isinstance(op, WEIGHTED):
            return value
        scale = self._weight_scale(op, value)
        view = [1] * value.ndim
        view[1 if isinstance(op, o.TransposeConv2D) else 0] = -1
        return fake_quantize(value, scale.reshape(view), 0, -WEIGHT_LIMIT, WEIGHT_LIMIT)

    def _weight_scale(self, op: WeightedOp, value: Tensor) -> Tensor:
        index = self._weight_index[op.name]
        if self.method == "lsq":
            initial = self._initial[index].to(value)
            return scale_gradient(torch.exp(self.weight_steps[index]) * initial, value.numel(), WEIGHT_LIMIT)
        axis = 1 if isinstance(op, o.TransposeConv2D) else 0
        largest = value.detach().abs().amax(dim=[d for d in range(value.ndim) if d != axis])
        return torch.clamp(largest / WEIGHT_LIMIT, min=SMALLEST_SCALE)

    def parameters_now(self) -> dict[str, QParams]:
        """Quantization parameters of every activation and constant operand."""
        result = dict(self._calibrated)
        for name, group in self._group.items():
            index = self._index.get(group)
            if index is None:
                continue
            if self.method == "lsq":
                calibrated = self._calibrated[name]
                scale = calibrated.tensor_scale * math.exp(float(self.activation_steps[index].detach()))
                result[name] = QParams.per_tensor(scale, calibrated.tensor_zero_point)
            else:
                result[name] = self._range_parameters(group)
        return result

    def weights_now(self) -> LearnedWeights:
        """Weight scales by operator: the learned ones, or for `tflite` the largest weight's."""
        scales: dict[str, Scales] = {}
        if self.method == "lsq":
            for op, initial, step in zip(self._weighted, self._initial, self.weight_steps, strict=True):
                scales[op.name] = (initial.double() * torch.exp(step.detach().cpu().double())).numpy()
        method = weight_scales("minmax") if self.method == "tflite" else self.settings.method
        return LearnedWeights(method, per_channel=True, per_channel_fc=True, scales=scales)


def _extremes(graph: Graph, constant: str) -> Range:
    """Smallest and largest value of a constant operand."""
    data = graph.tensors[constant].constant
    return float(data.min()), float(data.max())


def prepare_qat(
    graph: Graph,
    calibration: Calibration,
    *,
    method: str = "tflite",
    weights: str = "mse",
    activations: str = "percentile",
) -> GraphModule:
    """`graph` as a module that computes with int8 weights and activations, starting from the calibrated scales.

    `graph` is folded first, as by `ptq.quantize`, whose `calibration`, `weights` and `activations` these are. Raises
    ModelError TC-M420 for an unknown method, else what `ptq.quantize` raises.
    """
    graph = prepare_for_quantization(graph)
    return GraphModule(graph, QatQuantizer(graph, calibration, method, weights, activations))


def convert(module: GraphModule, rounding: Rounding = Rounding.DOUBLE) -> QuantGraph:
    """The integer graph of a module from `prepare_qat`, with its present weights and scales.

    Its accuracy is what the reference computes on it, not what the module shows: requantization and integer biases are
    only there.
    """
    quantizer = _quantizer(module)
    graph = module.to_graph()
    return with_parameters(graph, quantizer.parameters_now(), quantizer.weights_now(), rounding)


def _quantizer(module: GraphModule) -> QatQuantizer:
    if not isinstance(module.quant, QatQuantizer):
        raise TypeError("the module has no QatQuantizer; make it with prepare_qat")
    return module.quant


class Loss(Protocol):
    """The loss of a batch; distillation is a loss that asks a teacher about the same inputs."""

    def __call__(self, output: Any, inputs: Any, targets: Any, /) -> Tensor: ...


class Share(Protocol):
    """How several processes train one network together: each takes its share of a batch, tensors are averaged."""

    @property
    def rank(self) -> int: ...

    def share(self, batch: Tensor, /) -> Tensor: ...

    def average(self, tensors: list[Tensor], weight: float, /) -> None: ...


class QatTraining:
    """The training of a module from `prepare_qat`, epoch by epoch: Adam, cosine to zero, ranges frozen at the end.

    See `train_qat` for the arguments; `team` shares each batch out over processes. Between epochs `state` is all that
    the rest of the training depends on: a run that loads it goes on to the same bytes.
    """

    def __init__(
        self,
        module: GraphModule,
        inputs: Batch,
        targets: Batch,
        loss: Loss,
        *,
        epochs: int,
        batch: int = 64,
        learning_rate: float = 1e-4,
        freeze_after: float = 0.75,
        seed: int = 0,
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        team: Share | None = None,
    ) -> None:
        self.module = module
        self.inputs, self.targets = inputs, targets
        self.loss = loss
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.freeze_after = freeze_after
        self.augment = augment
        self.team = team
        first = parts(inputs)[0]
        self.samples, self._device = len(first), first.device
        self.steps = max(1, self.samples // batch)
        self.done = 0
        """Epochs behind us."""
        self._seed = seed
        self._quantizer = _quantizer(module)
        self._optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=learning_rate)
        self._order = torch.Generator().manual_seed(seed)
        self._changes = torch.Generator(self._device).manual_seed(seed)

    def epoch(self) -> float:
        """Trains one epoch and returns its mean loss; QualityError TC-Q120 when the loss is not finite."""
        self.module.train()
        if self.done >= self.freeze_after * self.epochs:
            self._quantizer.freeze()
        if self.team is not None and self.team.rank > 0:
            self._changes.manual_seed(self._seed + self.team.rank * self.epochs + self.done)
        total = 0.0
        order = torch.randperm(self.samples, generator=self._order)
        for step in range(self.steps):
            past = (self.done * self.steps + step) / (self.epochs * self.steps)
            for group in self._optimizer.param_groups:
                group["lr"] = 0.5 * self.learning_rate * (1 + math.cos(math.pi * past))
            batch = order[step * self.batch : (step + 1) * self.batch].to(self._device)
            chosen = batch if self.team is None else self.team.share(batch)
            x = take(self.inputs, chosen)
            if self.augment is not None and isinstance(x, Tensor):
                x = self.augment(x, self._changes)
            total += self._step(step, x, take(self.targets, chosen), len(chosen) / len(batch))
        self.done += 1
        return total / self.steps

    def _step(self, step: int, x: Batch, targets: Batch, share: float) -> float:
        value = self.loss(self.module(*parts(x)), x, targets)
        self._optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        value = value.detach()
        if self.team is not None:
            ranges = [] if self._quantizer.is_frozen else [self._quantizer.low, self._quantizer.high]
            gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
            self.team.average([value, *gradients, *ranges], share)
        number = float(value)
        if not math.isfinite(number):
            raise QualityError(
                "TC-Q120",
                f"the loss of quantization-aware training became {number} at step {self.done * self.steps + step} "
                f"(epoch {self.done + 1})",
                where="qat",
                fix=f"lower its learning rate (now {self.learning_rate:.3g})",
            )
        self._optimizer.step()
        return number

    def state(self) -> dict[str, Any]:
        """Tensors, numbers and dicts, as `torch.load` reads them with weights_only."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "order": self._order.get_state(),
            "changes": self._changes.get_state(),
            "done": self.done,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state`."""
        self.module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._order.set_state(state["order"].cpu())
        self._changes.set_state(state["changes"].cpu())
        self.done = int(state["done"])


def train_qat(
    module: GraphModule,
    inputs: Batch,
    targets: Batch,
    loss: Loss,
    *,
    epochs: int,
    batch: int = 64,
    learning_rate: float = 1e-4,
    freeze_after: float = 0.75,
    seed: int = 0,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> GraphModule:
    """Trains a module from `prepare_qat` in place: Adam, cosine to zero, ranges frozen for the last quarter.

    `inputs` are `[n, *shape]`, channels last, on the module's device, or a tuple of several; `targets` a tensor or
    several by name. `learning_rate` is a tenth of the float one. `augment` changes a batch of a network with one input,
    with a generator on its device. `progress` gets each epoch's number and mean loss. Raises
    QualityError TC-Q120 when the loss is not finite.
    """
    training = QatTraining(
        module, inputs, targets, loss, epochs=epochs, batch=batch, learning_rate=learning_rate,
        freeze_after=freeze_after, seed=seed, augment=augment,
    )  # fmt: skip
    for epoch in range(epochs):
        value = training.epoch()
        if progress is not None:
            progress(epoch, value)
    return module.eval()
