"""The stochastic thermodynamics of diffusion models, computed fast and honestly."""

import torch as _torch  # noqa: F401  first: both then share torch's OpenMP runtime

from thermokern import ops
from thermokern.processes import VE, VP

__version__ = "0.1.0"
__all__ = ["VE", "VP", "__version__", "ops"]
