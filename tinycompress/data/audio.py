"""Log-mel spectrograms in numpy, for spoken-word data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[Any]


def mel_filters(bands: int, bins: int, rate: int) -> Float:
    """Triangular filters [bands, bins] with centres equally spaced on the mel scale from 60 Hz to half the rate."""

    def mel(hertz: float) -> float:
        return float(2595.0 * np.log10(1.0 + hertz / 700.0))

    edges = 700.0 * (10.0 ** (np.linspace(mel(60.0), mel(rate / 2), bands + 2) / 2595.0) - 1.0)
    hertz = np.linspace(0.0, rate / 2, bins)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (hertz - low) / (centre - low), (high - hertz) / (high - centre)
    filters: Float = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    return filters


def log_mel(clip: Float, *, rate: int, frames: int, bands: int, window: int = 256) -> Float:
    """Log-mel energies [frames, bands] of the first second of `clip`, shifted and scaled to mean 0, sd 1.

    Shorter clips are centred in silence. Windows are Hann, `window` samples, equally spaced over the second.
    """
    padded = np.zeros(rate, dtype=np.float32)
    used = clip[:rate]
    start = (rate - len(used)) // 2
    padded[start : start + len(used)] = used
    starts = np.linspace(0, rate - window, frames).astype(int)
    blocks = np.stack([padded[s : s + window] for s in starts]) * np.hanning(window).astype(np.float32)
    power = np.abs(np.fft.rfft(blocks, axis=1)) ** 2
    energies = np.log(power @ mel_filters(bands, power.shape[1], rate).T + 1e-6)
    standardised: Float = ((energies - energies.mean()) / (energies.std() + 1e-6)).astype(np.float32)
    return standardised
