"""One thread: the networks are tiny, and results repeat bit for bit only with a fixed number of threads."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
