"""Self-contained HTML pages of results."""

from thermokern.report import information as _information  # noqa: F401  registers its particulars
from thermokern.report import particulars as _particulars  # noqa: F401  and those of the others
from thermokern.report.results import write_result

__all__ = ["write_result"]
