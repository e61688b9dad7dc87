"""Networks and paths on another device: the tests of devices_elsewhere.py, in a process of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

FILE = Path(__file__).with_name("devices_elsewhere.py")


def test_devices_elsewhere() -> None:
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("NOT RUN: this PyTorch has no devices written in Python")
    pytest.importorskip("diffusers", reason="NOT RUN: the extra 'diffusers' is not installed")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(FILE)]
    done = subprocess.run(command, cwd=FILE.parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\b29 passed", done.stdout), done.stdout[-300:]
