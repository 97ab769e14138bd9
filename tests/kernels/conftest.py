"""Ends the drivers when the session ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernels import driver


@pytest.fixture(scope="session", autouse=True)
def _drivers() -> Iterator[None]:
    yield
    driver.close_all()
