"""The cluster that a server has its models run on."""

from functools import partial

from predictd.cluster.ray_process import local_address, parse_address
from predictd.cluster.scheduler import ClusterScheduler
from predictd.domain.errors import PlatformError, SetupError
from predictd.server.deployment import Deployment
from predictd.server.runtime_specs import find_spec
from predictd.server.setup import Say
from predictd.settings import Settings
from predictd.worker.cluster_backend import RemoteRuns

_KNOWN_SECONDS = 60.0
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 (compared with)


def open_cluster(deployment: Deployment, port: int, say: Say) -> tuple[ClusterScheduler, RemoteRuns]:
    """Join the cluster of the settings; the server listens on `port`.

    A cluster that can't be reached now is waited for by the running server.

    Raises:
        SetupError: Ray is not installed, the address is none, or nodes could not reach this server.
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
    trouble = placer.wait_for_nodes(_KNOWN_SECONDS)
    if trouble:
        say(f"{trouble} Models wait until it can be joined.")
    elif not placer.nodes():
        say("No machine of the cluster runs models yet; start some with: predictd node")
    else:
        say(f"Models run on {', '.join(placer.nodes())}: {placer.capacity(settings.limits)} at once.")
    remote = RemoteRuns(
        placer,
        deployment.database,
        deployment.storage.with_base_url(node_url),
        node_url=node_url,
        find_lock=partial(_lock_of, deployment),
        url_seconds=settings.url_seconds,
        lease_seconds=settings.lease_seconds,
    )
    return placer, remote


def node_url_of(settings: Settings, port: int) -> str:
    """Where nodes reach this server.

    Raises:
        SetupError: the server listens where only this machine can reach it, and no other address is set.
    """
    if settings.node_url or settings.public_url:
        return settings.node_url or settings.public_url
    host, head_port = parse_address(settings.ray_address)
    if settings.host in _EVERYWHERE:
        here = local_address(host, head_port)
    else:
        here = settings.host
        if here in ("127.0.0.1", "localhost", "::1") and host not in ("127.0.0.1", "localhost", "::1"):
            raise SetupError(
                f"The server listens on {here}, which nodes on other machines can't reach; listen on another address "
                "(--host 0.0.0.0), or say where nodes reach it (PREDICTD_NODE_URL)."
            )
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def _lock_of(deployment: Deployment, folder: str) -> str:
    spec = find_spec(deployment.storage, folder)
    if spec is None:
        raise PlatformError(
            f"The lock of the runtime {folder} is not in storage, so it can't be given to nodes; build the runtime "
            "again with `predictd runtime build`, or with `predictd runtime add` if it is one of your own."
        )
    return spec.lock
