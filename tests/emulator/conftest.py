"""The stub model, built for every board and toolchain once per run."""

from __future__ import annotations

import pytest

from tests.emulator.stub import STUB, Builder, StubBuild, need, stub_binding
from tinycompress import boards
from tinycompress.build import Firmware, build_firmware


@pytest.fixture(scope="session")
def stub_firmware(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """`stub_firmware(StubBuild(...))`, each variant built once."""
    built: dict[StubBuild, Firmware] = {}

    def build(variant: StubBuild) -> Firmware:
        need(toolchain=variant.toolchain, engine=boards.board(variant.board).emulator.engine)
        if variant not in built:
            built[variant] = build_firmware(
                STUB,
                stub_binding(),
                boards.board(variant.board),
                variant.toolchain,
                tmp_path_factory.mktemp("stub") / "build",
                profile=variant.hooks,
            )
        return built[variant]

    return build
