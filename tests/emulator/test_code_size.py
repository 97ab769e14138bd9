"""The estimate of machine code that planning counts with, against what the linker made."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinycompress.config import load_config
from tinycompress.pipeline.planning import estimated_code
from tinycompress.pipeline.stages import Pipeline
from tinycompress.pipeline.target import Target

TOLERANCE = 0.15


@pytest.mark.parametrize("model", ["kws_ref_model", "ad01_int8", "vww_96_int8", "pretrainedResnet_quant"])
def test_estimated_code_is_near_the_linked_one(model: str, data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "models" / "mlperf_tiny" / f"{model}.tflite"
    config = load_config(None, {"model.source": str(source)})
    with Pipeline.open(config, tmp_path / "run") as pipeline:
        linked = pipeline.firmware(Target(emulate=True)).library_sizes.code_bytes
        estimated = estimated_code(pipeline.plan)
    assert abs(estimated - linked) <= TOLERANCE * linked, (estimated, linked)
