"""The stages in order: import, compress, quantize, plan, generate, build, run, report. No stage logic of its own."""

from tinycompress.pipeline.stages import Pipeline, Progress, silent

__all__ = ["Pipeline", "Progress", "silent"]
