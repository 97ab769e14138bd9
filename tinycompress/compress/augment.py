"""Random changes of image batches, on the device, by an explicit generator (so that a resumed run sees the same)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from tinycompress.compress.recipe import AugmentSettings

ELASTIC_SMOOTHING = 4.0
"""Standard deviation in pixels of the Gaussian that smooths elastic displacement fields."""


def augment(batch: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """A changed copy of `batch` [n, h, w, c]; series and vectors only get noise. Zero is what comes in at borders."""
    if batch.ndim == 4 and batch.shape[2] > 1:
        if settings.flip:
            mirrored = torch.rand(len(batch), generator=generator, device=batch.device) < 0.5
            batch = torch.where(mirrored.view(-1, 1, 1, 1), batch.flip(2), batch)
        if settings.rotate or settings.scale or settings.elastic:
            batch = _warp(batch, settings, generator)
        elif settings.shift:
            batch = _shift(batch, settings.shift, generator)
    if settings.noise:
        batch = batch + settings.noise * torch.randn(batch.shape, generator=generator, device=batch.device)
    return batch


def _shift(batch: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Each image moved by its own whole number of pixels."""
    n, height, width, _ = batch.shape
    padded = functional.pad(batch, (0, 0, most, most, most, most))
    offsets = torch.randint(0, 2 * most + 1, (2, n, 1), generator=generator, device=batch.device)
    rows = offsets[0] + torch.arange(height, device=batch.device)
    columns = offsets[1] + torch.arange(width, device=batch.device)
    which = torch.arange(n, device=batch.device)
    return padded[which[:, None, None], rows[:, :, None], columns[:, None, :]]


def _warp(batch: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """Rotation, size change, shift and elastic displacement in one bilinear resampling."""
    n, height, width, _ = batch.shape

    def uniform(most: float, *shape: int) -> Tensor:
        return (2 * torch.rand(shape, generator=generator, device=batch.device) - 1) * most

    angle = uniform(math.radians(settings.rotate), n)
    size = 1.0 + uniform(settings.scale, n)
    shift = uniform(2.0 * settings.shift, n, 2) / torch.tensor([width, height], device=batch.device)
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    matrix = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = functional.affine_grid(matrix, [n, 1, height, width], align_corners=False)
    if settings.elastic:
        grid = grid + _displacement(n, height, width, settings.elastic, generator, batch.device)
    moved = functional.grid_sample(batch.permute(0, 3, 1, 2), grid, align_corners=False)
    return moved.permute(0, 2, 3, 1)


def _displacement(
    n: int, height: int, width: int, pixels: float, generator: torch.Generator, device: torch.device
) -> Tensor:
    """A smooth random field [n, h, w, 2] in grid units (2 / size per pixel) with sd `pixels`."""
    field = torch.randn(2 * n, height, width, generator=generator, device=device)
    field = _smoother(height, device) @ field @ _smoother(width, device).T
    scale = torch.tensor([2.0 / width, 2.0 / height], device=device)
    return pixels * field.view(n, 2, height, width).permute(0, 2, 3, 1) * scale


def _smoother(size: int, device: torch.device) -> Tensor:
    """A matrix [size, size] that smooths an axis with a Gaussian; white noise keeps sd 1 away from the borders."""
    distance = torch.arange(size, device=device)[:, None] - torch.arange(size, device=device)[None, :]
    taps = torch.exp(-0.5 * (distance / ELASTIC_SMOOTHING) ** 2)
    smoother: Tensor = taps / taps[size // 2].norm()
    return smoother
