"""Settings of the tests: repeatable examples, fixed seeds that `--seed` changes, threads restored."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from thermokern._info import cuda_absence

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, max_examples=50)
settings.register_profile("short", settings.get_profile("repeatable"), max_examples=15)  # for a second run of the same
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=20261122, help="seed of the sampling tests")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that ask for a `device` run on the CPU, and on a CUDA device where there is one."""
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", ["cpu"] if cuda_absence() else ["cpu", "cuda"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if cuda_absence():
        terminalreporter.write_line(f"cuda: NOT RUN (no device): {cuda_absence()}")


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
