"""CUDA kernels of thermokern. Outputs are allocated by the caller."""

from thermokern._kernels import *

def absence() -> str: ...
