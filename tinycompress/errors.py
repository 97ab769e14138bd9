"""The exception tree. Every failure the tool foresees is one of these; only the CLI prints them and exits.

::

    TinycompressError                       exit
     ├ ConfigError            TC-Cxxx        2
     ├ ModelError             TC-Mxxx        3     UnsafeModelError, UnsupportedOpError
     ├ BudgetError            TC-Bxxx        4
     ├ ToolchainError         TC-Txxx        5
     ├ DeviceError            TC-Dxxx        6     PortError, ProbeError, LinkTimeout, FrameError, TargetFault
     ├ MismatchError          TC-Vxxx        7
     └ QualityError           TC-Qxxx        8
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar


class TinycompressError(Exception):
    """A foreseen failure: what happened, where, and what to do about it.

    `code` is a stable id such as ``TC-M102`` (`tinycompress explain CODE` prints the long text), `where` names the
    node, file, key or port, `fix` is the next thing to try. `exit_code` is the process status the CLI ends with.
    `known` holds what was found out before the failure, as JSON values: ``stages`` of a compression, the ``nearest``
    budget that can be met, the ``layers`` of a plan that is over budget.
    """

    exit_code: ClassVar[int] = 1
    letter: ClassVar[str] = "X"

    known: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, code: str, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        if not code.startswith(f"TC-{self.letter}"):
            raise ValueError(f"{type(self).__name__} codes start with TC-{self.letter}, not {code!r}")
        super().__init__(what)
        self.code = code
        self.what = what
        self.where = where
        self.fix = fix

    def facts(self) -> dict[str, str | int | None]:
        """The diagnostic as JSON values, with the process status it ends with."""
        return {
            "code": self.code,
            "what": self.what,
            "where": self.where,
            "fix": self.fix,
            "exit_code": self.exit_code,
        }

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        fix = f"; {self.fix}" if self.fix else ""
        return f"{self.code}: {self.what}{place}{fix}"


@contextlib.contextmanager
def located(place: str) -> Iterator[None]:
    """Diagnostics raised inside are at `place`; those that name a part of it, at that part."""
    try:
        yield
    except TinycompressError as error:
        if error.where is None or error.where in place:
            error.where = place
        elif place not in error.where:
            error.where = f"{place}: {error.where}"
        raise


class ConfigError(TinycompressError):
    """A flag, recipe key, board file or environment variable is wrong."""

    exit_code = 2
    letter = "C"


class ModelError(TinycompressError):
    """The model (or its data) cannot be taken as it is."""

    exit_code = 3
    letter = "M"


class UnsafeModelError(ModelError):
    """Reading the file would run code or read other files."""


class UnsupportedOpError(ModelError):
    """One or more operators are outside what is supported; lists all of them."""


class BudgetError(TinycompressError):
    """RAM, flash, instructions or latency exceed the budget; says by how much and at which layer."""

    exit_code = 4
    letter = "B"


class ToolchainError(TinycompressError):
    """A compiler is missing or a build failed."""

    exit_code = 5
    letter = "T"


class DeviceError(TinycompressError):
    """The board, its probe, its port or the emulator failed."""

    exit_code = 6
    letter = "D"


class PortError(DeviceError):
    """The serial port is absent, busy or not permitted."""


class ProbeError(DeviceError):
    """The debug probe or the flash program failed."""


class LinkTimeout(DeviceError):
    """The target stayed silent."""


class FrameError(DeviceError):
    """Bytes arrive but are not valid frames."""


class TargetFault(DeviceError):
    """The firmware reported a processor fault."""


class MismatchError(TinycompressError):
    """Host and target computed different bytes."""

    exit_code = 7
    letter = "V"


class QualityError(TinycompressError):
    """Accuracy is below the floor that was asked for."""

    exit_code = 8
    letter = "Q"
