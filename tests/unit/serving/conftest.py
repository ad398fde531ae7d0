"""What the tests of the service share."""

from __future__ import annotations

import pytest

from tests.unit.serving.rig import Hall


@pytest.fixture
async def hall() -> Hall:
    """A service of its own."""
    return Hall()
