"""What every result is: numbers with errors, a summary, a file, a figure."""

from thermokern.quantities.results.estimate import Estimate, ExponentialAverage, FewPathsWarning
from thermokern.quantities.results.result import Result
from thermokern.quantities.results.storage import load

__all__ = [
    "Estimate",
    "ExponentialAverage",
    "FewPathsWarning",
    "Result",
    "load",
]
