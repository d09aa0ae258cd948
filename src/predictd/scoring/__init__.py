"""Whether a submission is valid, and how submissions are read and written; metrics, diagnostics and leaderboards.

No database and no state of a trigger: functions of predictions, ids, targets and files.
"""

from predictd.scoring.checks import check_submission
from predictd.scoring.prediction_files import predictions_csv, read_submission_file, write_predictions_csv

__all__ = ["check_submission", "predictions_csv", "read_submission_file", "write_predictions_csv"]
