"""What scores the rounds of a deployment."""

from predictd.data.mapped_cache import MappedCache
from predictd.rounds.scoring import Scorer
from predictd.server.deployment import Deployment


def mapped_cache(deployment: Deployment) -> MappedCache:
    """Where the deployment keeps its data files in mapped form."""
    settings = deployment.settings
    return MappedCache(folder=settings.mapped_home, limit=settings.mapped_gb * 10**9)


def scorer_of(deployment: Deployment) -> Scorer:
    """The scorer of its rounds."""
    return Scorer(
        database=deployment.database,
        storage=deployment.storage,
        mapped=mapped_cache(deployment),
        factors=deployment.settings.factors_home,
    )
