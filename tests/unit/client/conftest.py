"""Two gateways."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.client.doubles import Gateway


@pytest.fixture
def one() -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway


@pytest.fixture
def two() -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway
