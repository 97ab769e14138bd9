"""Opening a port: each obstacle has its own code."""

from __future__ import annotations

import errno
import os
import tty
from collections.abc import Iterator

import pytest
import serial

from tinycompress.device import link
from tinycompress.errors import PortError


@pytest.fixture
def pty_name() -> Iterator[str]:
    master, slave = os.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave)
    os.close(slave)
    os.close(master)


def code_of(url: str) -> str:
    with pytest.raises(PortError) as caught:
        link.open_port(url)
    assert caught.value.where == url
    return caught.value.code


def test_no_such_port() -> None:
    assert code_of("/dev/ttyNOTTHERE") == "TC-D101"


def test_no_such_scheme() -> None:
    assert code_of("carrier-pigeon://coop") == "TC-D101"


def test_nobody_listens() -> None:
    assert code_of("socket://127.0.0.1:1") == "TC-D101"


def test_busy_port(pty_name: str) -> None:
    first = link.open_port(pty_name)
    try:
        assert code_of(pty_name) == "TC-D103"
    finally:
        first.close()


@pytest.mark.parametrize(
    ("number", "code"), [(errno.EACCES, "TC-D102"), (errno.EBUSY, "TC-D103"), (errno.ENOENT, "TC-D101")]
)
def test_system_errors(number: int, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise serial.SerialException(number, os.strerror(number))

    monkeypatch.setattr(link.serial, "serial_for_url", refuse)
    assert code_of("/dev/ttyACM0") == code
