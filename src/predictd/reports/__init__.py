"""Diagnostics as a person reads them: in the terminal, as JSON, as a page with charts.

Functions of diagnostics and comparisons; no files, no database. `charts` makes the markup that any page can show.
"""

from predictd.reports.page import page
from predictd.reports.report import Model, Report
from predictd.reports.terminal import print_differences, print_report

__all__ = ["Model", "Report", "page", "print_differences", "print_report"]
