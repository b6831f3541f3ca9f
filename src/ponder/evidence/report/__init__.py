"""Results as one page that a person can read: a verdict, a table and pictures."""

from ponder.evidence.report.page import write_report

__all__ = ["write_report"]
