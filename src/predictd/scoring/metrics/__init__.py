"""Numerai's metrics for all eras and many submissions at once, and the metrics of a validation.

Functions of arrays that only need NumPy; docs/reference/metrics.md defines each metric. The only files are
cached factors.
"""

from predictd.scoring.metrics.batch import Features, Scores, Truth, score
from predictd.scoring.metrics.comparison import Comparison, Difference, compare, correlations_by_era
from predictd.scoring.metrics.contribution import meta_model
from predictd.scoring.metrics.diagnostics import Diagnostics, EraDiagnostics, diagnose, diagnose_scores
from predictd.scoring.metrics.factor_cache import FactorCache
from predictd.scoring.metrics.mapped_features import MappedFeatures
from predictd.scoring.metrics.series import series

__all__ = [
    "Comparison",
    "Diagnostics",
    "Difference",
    "EraDiagnostics",
    "FactorCache",
    "Features",
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
