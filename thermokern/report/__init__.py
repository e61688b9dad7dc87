"""Self-contained HTML pages of results."""

from thermokern.report.results import write_result

__all__ = ["write_result"]
