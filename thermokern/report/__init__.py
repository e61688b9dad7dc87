"""Self-contained HTML pages of results."""

from thermokern.report import information as _information  # noqa: F401  registers its particulars
from thermokern.report.results import write_result

__all__ = ["write_result"]
