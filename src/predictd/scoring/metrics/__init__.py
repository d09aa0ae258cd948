"""Numerai's metrics for all eras and many submissions at once, and the figures of a validation.

Functions of arrays, with NumPy alone; docs/metrics.md defines each figure. The only files are factors that are kept.
"""

from predictd.scoring.metrics.batch import Features, Scores, Truth, score
from predictd.scoring.metrics.comparison import Comparison, Difference, compare, correlations_by_era
from predictd.scoring.metrics.diagnostics import Diagnostics, EraDiagnostics, diagnose, diagnose_scores
from predictd.scoring.metrics.factor_cache import KeptFactors
from predictd.scoring.metrics.mapped_features import MappedFeatures
from predictd.scoring.metrics.portfolio import meta_model
from predictd.scoring.metrics.series import series

__all__ = [
    "Comparison",
    "Diagnostics",
    "Difference",
    "EraDiagnostics",
    "Features",
    "KeptFactors",
    "MappedFeatures",
    "Scores",
    "Truth",
    "compare",
    "correlations_by_era",
    "diagnose",
    "diagnose_scores",
    "meta_model",
    "score",
    "series",
]
