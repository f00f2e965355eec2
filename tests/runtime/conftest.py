"""One pair of emulators for all tests of living runs: starting them costs more than what most tests ask of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtime.living import simulated


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The emulators' variables."""
    with simulated(tmp_path_factory.mktemp("simulated")) as found:
        yield found
