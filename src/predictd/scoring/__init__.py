"""Validate, read and write submissions; compute metrics and diagnostics.

These are functions of predictions, ids, targets and files, without a database or the state of a run.
"""

from predictd.scoring.prediction_files import predictions_csv, read_submission_file, write_predictions_csv
from predictd.scoring.submission_checks import check_submission

__all__ = ["check_submission", "predictions_csv", "read_submission_file", "write_predictions_csv"]
