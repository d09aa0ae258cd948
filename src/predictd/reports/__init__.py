"""Reports of diagnostics: in the terminal, as JSON, as a page with charts.

These are functions of diagnostics and comparisons, without files or a database. Any page can show the markup of
`charts`.
"""

from predictd.reports.page import page
from predictd.reports.report import Model, Report
from predictd.reports.terminal_report import print_differences, print_report

__all__ = ["Model", "Report", "page", "print_differences", "print_report"]
