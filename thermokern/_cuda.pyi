"""CUDA kernels of thermokern. Outputs are allocated by the caller."""

from thermokern._kernels import *  # noqa: F403

def absence() -> str: ...
