"""Settings of the tests: repeatable examples, fixed seeds that `--seed` changes, threads restored."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, max_examples=50)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=20261122, help="seed of the sampling tests")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Seed of a sampling test."""
    return int(request.config.getoption("--seed"))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """One thread, unless a test is about more: the references are small, and quick on a busy machine only then."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
