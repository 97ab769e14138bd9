"""Data sets: what the user brings, split by seed, as plain numpy arrays."""

from tinycompress.data.dataset import Dataset, Split, split_by_fraction, split_by_seed, spread
from tinycompress.data.sources import from_object, load_data

__all__ = ["Dataset", "Split", "from_object", "load_data", "split_by_fraction", "split_by_seed", "spread"]
