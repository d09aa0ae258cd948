"""Connection to the Ray cluster that runs the models."""

from functools import partial

from predictd.cluster.ray_process import local_address, parse_address
from predictd.cluster.scheduler import ClusterScheduler
from predictd.domain.errors import PlatformError, SetupError
from predictd.domain.limits import PRESIGNED_URL_SECONDS
from predictd.server.deployment import Deployment
from predictd.server.runtime_specs import find_spec
from predictd.server.setup import Echo
from predictd.settings import Settings
from predictd.worker.cluster_backend import ClusterBackend

_CONNECT_SECONDS = 60.0
_ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (compared with)


def open_cluster(deployment: Deployment, port: int, say: Echo) -> tuple[ClusterScheduler, ClusterBackend]:
    """Join the configured cluster; the server listens on `port`.

    If the cluster is unreachable, the running server keeps retrying.

    Raises:
        SetupError: Ray is not installed, its address is invalid, or nodes can't reach this server.
    """
    settings = deployment.settings
    if not settings.ray_address:
        raise SetupError(
            "The Ray executor needs the address of a Ray head: --ray-address HOST:PORT (PREDICTD_RAY_ADDRESS). "
            "Start one with: predictd node --head"
        )
    log = settings.home / "ray.log"
    placer = ClusterScheduler(settings.ray_address, log)
    node_url = node_url_of(settings, port)
    say(f"Joining the Ray cluster at {settings.ray_address}; its nodes reach this server at {node_url}.")
    trouble = placer.wait_for_nodes(_CONNECT_SECONDS)
    if trouble:
        say(f"{trouble} Runs wait until the cluster is available.")
    elif not placer.nodes():
        say("The cluster has no nodes yet; start one with: predictd node")
    else:
        say(f"Models run on {', '.join(placer.nodes())}: {placer.capacity(settings.limits)} at once.")
    remote = ClusterBackend(
        placer,
        deployment.database,
        deployment.storage.with_base_url(node_url),
        node_url=node_url,
        find_lock=partial(_lock_of, deployment),
        url_seconds=PRESIGNED_URL_SECONDS,
        lease_seconds=settings.lease_seconds,
    )
    return placer, remote


def node_url_of(settings: Settings, port: int) -> str:
    """Return the URL that nodes reach this server at.

    Raises:
        SetupError: the server listens on a loopback address, and no other URL is set.
    """
    if settings.node_url or settings.public_url:
        return settings.node_url or settings.public_url
    host, head_port = parse_address(settings.ray_address)
    if settings.host in _ANY_ADDRESS:
        own_host = local_address(host, head_port)
    else:
        own_host = settings.host
        if own_host in ("127.0.0.1", "localhost", "::1") and host not in ("127.0.0.1", "localhost", "::1"):
            raise SetupError(
                f"The server listens on {own_host}, which nodes on other machines can't reach; listen on another "
                "address (--host 0.0.0.0) or set PREDICTD_NODE_URL."
            )
    return f"http://[{own_host}]:{port}" if ":" in own_host else f"http://{own_host}:{port}"


def _lock_of(deployment: Deployment, folder: str) -> str:
    spec = find_spec(deployment.storage, folder)
    if spec is None:
        raise PlatformError(
            f"The lock of the runtime {folder} is not in storage, so it can't be given to nodes; build the runtime "
            "again with `predictd runtime build`, or with `predictd runtime add` if it is one of your own."
        )
    return spec.lock
