"""Instructions, RAM and flash of the four MLPerf Tiny int8 models beside the peers' figures. Prints a table and JSON.

The peers were counted on the same models with the same method (QEMU -icount on a Cortex-M7, one inference, GCC 12.2
for theirs): TFLM with CMSIS-NN at its best flags, and the best published engine as an upper bound from its published
cycles. Byte-exactness against the reference is part of each run.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tinycompress as tc

pytestmark = pytest.mark.bench

# model file, TFLM + CMSIS-NN instructions, best published engine, TFLM + CMSIS-NN arena bytes and flash bytes, our goal
PEERS = {
    "IC": ("pretrainedResnet_quant.tflite", 29.94e6, 19.8e6, 54_996, 156_700, 5.0e6),
    "KWS": ("kws_ref_model.tflite", 7.65e6, 5.2e6, 22_820, 113_100, 2.1e6),
    "VWW": ("vww_96_int8.tflite", 24.03e6, 10.7e6, 100_708, 392_500, 3.6e6),
    "AD": ("ad01_int8.tflite", 0.583e6, 0.49e6, 2_580, 307_500, 0.18e6),
}


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_beside_the_peers(toolchain: str, data_dir: Path, tmp_path: Path) -> None:
    rows = []
    for name, (file, peer_count, best, peer_arena, peer_flash, goal) in PEERS.items():
        for schedule, feed in (("layers", "whole"), ("streamed", "whole"), ("streamed", "rows")):
            settings = {"plan.schedule": schedule, "plan.feed": feed, "deploy.samples": 3, "build.toolchain": toolchain}
            model = data_dir / "models" / "mlperf_tiny" / file
            report = tc.deploy(model, emulate=True, run=tmp_path / f"{name}-{schedule}-{feed}", settings=settings)
            assert report.validation.mismatching_bytes == 0
            assert report.counted is not None
            if schedule == "layers":
                assert report.counted.instructions <= peer_count
            rows.append(
                {
                    "model": name,
                    "schedule": schedule if feed == "whole" else f"{schedule}, fed",
                    "instructions": report.counted.instructions,
                    "tflm_cmsis_nn": int(peer_count),
                    "best_published_at_most": int(best),
                    "goal": int(goal),
                    "ram_bytes": report.ram.total_bytes,
                    "tflm_cmsis_nn_arena_bytes": peer_arena,
                    "flash_bytes": report.flash.total_bytes,
                    "tflm_cmsis_nn_flash_bytes": peer_flash,
                    "stack_bytes": report.ram.stack_bytes,
                }
            )
    print(f"\n{toolchain}: instructions (counted), RAM and flash (exact) of the library")
    print("fed: the input arrives by rows; the copy the firmware takes them from is no RAM of the library")
    header = (
        "model",
        "schedule",
        "instructions",
        "TFLM+CMSIS-NN",
        "best published",
        "goal",
        "RAM",
        "theirs",
        "flash",
        "theirs",
    )
    print("  ".join(f"{h:>14}" for h in header))
    for row in rows:
        cells = [v for k, v in row.items() if k != "stack_bytes"]
        print("  ".join(f"{c:>14,}" if isinstance(c, int) else f"{c:>14}" for c in cells))
    print(json.dumps(rows))
