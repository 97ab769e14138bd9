"""`tinycompress build [MODEL]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinycompress.cli import options as opt
from tinycompress.cli.app import app

if TYPE_CHECKING:
    from tinycompress.config import Config


@app.command()
@opt.with_settings(demo=True)
def build(config: Config, run: opt.RunOption = None, fresh: opt.Fresh = False, json: opt.Json = False) -> None:
    """Build the measuring firmware. It holds the generated library; sizes are read from the ELF."""
    from tinycompress.pipeline.target import Target

    with opt.open_pipeline(config, run, fresh) as pipeline:
        firmware = pipeline.firmware(Target())
    library, whole = firmware.library_sizes, firmware.firmware_sizes
    facts = {
        "elf": str(firmware.elf),
        "build_id": firmware.build_id,
        "compiler": firmware.compiler,
        "library": {"flash_bytes": library.flash_bytes, "ram_bytes": library.ram_bytes},
        "firmware": {"flash_bytes": whole.flash_bytes, "ram_bytes": whole.ram_bytes},
        "stack_bytes": firmware.stack.bytes,
    }
    stack = "unknown" if firmware.stack.bytes is None else f"{firmware.stack.bytes:,} B"
    opt.emit(
        json,
        facts,
        [
            f"{firmware.elf} ({firmware.compiler}, build {firmware.build_id})",
            f"library  flash {library.flash_bytes:,} B, static RAM {library.ram_bytes:,} B, worst-case stack {stack}",
            f"firmware flash {whole.flash_bytes:,} B, RAM {whole.ram_bytes:,} B",
        ],
    )
