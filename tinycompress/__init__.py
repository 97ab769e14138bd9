"""tinycompress: from a neural network to measured firmware."""

__version__ = "0.1.0"
