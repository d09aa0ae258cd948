"""The scores of a validation as series: one value for each era, NaN where missing."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from predictd.scoring.metrics.diagnostics import Diagnostics, EraDiagnostics
from predictd.scoring.metrics.ranks import Floats

SERIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "corr": ("validation_corr",),
        "mmc": ("validation_mmc",),
        "bmc": ("validation_bmc",),
        "corr_plus_mmc": ("validation_corr", "validation_mmc"),
        "fnc": ("validation_feature_neutral_corr",),
        "fnc_v3": ("validation_feature_neutral_corr_v3",),
        "feature_corr_max": ("validation_feature_corr_max",),
    }
)
"""Series name -> the fields of an era that are summed."""

LABELS: Mapping[str, str] = MappingProxyType(
    {
        "corr": "CORR",
        "mmc": "MMC",
        "bmc": "BMC",
        "corr_plus_mmc": "CORR + MMC",
        "fnc": "FNC",
        "fnc_v3": "FNCv3",
        "feature_corr_max": "max feature correlation",
    }
)
"""Labels of the series."""


def series(diagnostics: Diagnostics, name: str) -> Floats:
    """Return the series of that name in era order, shape (eras,); raises KeyError for an unknown name."""
    fields = SERIES[name]
    return np.array([_sum(era, fields) for era in diagnostics.per_era_diagnostics], dtype=np.float64)


def _sum(era: EraDiagnostics, fields: tuple[str, ...]) -> float:
    values = [getattr(era, field) for field in fields]
    return float("nan") if None in values else float(sum(values))
