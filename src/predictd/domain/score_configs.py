"""The scores that a submission gets, by their names on the wire."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """One score.

    Attributes:
        metric: what it is called in our own code and tables.
        name: of the score without its version.
        version: of its definition.
        display_name: by which clients know it.
        is_canonical: whether models are ranked by it.
    """

    metric: str
    name: str
    version: str
    display_name: str
    is_canonical: bool = False


SCORE_CONFIGS = (
    ScoreConfig(metric="corr", name="corr20", version="v2", display_name="v2_corr20", is_canonical=True),
    ScoreConfig(metric="mmc", name="mmc", version="v1", display_name="mmc", is_canonical=True),
    ScoreConfig(metric="bmc", name="bmc", version="v1", display_name="bmc"),
    ScoreConfig(metric="fnc", name="fnc", version="v1", display_name="fnc"),
    ScoreConfig(metric="fnc_v3", name="fnc", version="v3", display_name="fnc_v3"),
)
METRICS = tuple(config.metric for config in SCORE_CONFIGS)
