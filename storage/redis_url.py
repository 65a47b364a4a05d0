"""What a REDIS_URL says, read without a driver: one server, or the seeds of a cluster."""

from urllib.parse import urlsplit

CLUSTER = "+cluster"
DEFAULT_PORT = 6379

Address = tuple[str, int]


def is_cluster(url: str) -> bool:
    """Whether `url` names a cluster: `redis+cluster://…` or `rediss+cluster://…`."""
    return url.partition("://")[0].lower() in {f"redis{CLUSTER}", f"rediss{CLUSTER}"}


def seeds_of(url: str) -> tuple[Address, ...]:
    """The nodes that the URL of a cluster names; raises `ValueError` where it names none.

    A cluster has no numbered databases: a path is refused.
    """
    place = urlsplit(url)
    if place.path.strip("/") or place.fragment:
        raise ValueError("a cluster has no path")
    return tuple(_address(part) for part in place.netloc.rpartition("@")[2].split(","))


def node_url(url: str, address: Address) -> str:
    """The URL of one node: scheme, credentials and options are those of the cluster's `url`."""
    place = urlsplit(url)
    credentials, at, _ = place.netloc.rpartition("@")
    host, port = address
    netloc = f"{credentials}{at}{f'[{host}]' if ':' in host else host}:{port}"
    return place._replace(scheme=place.scheme.removesuffix(CLUSTER), netloc=netloc).geturl()


def _address(part: str) -> Address:
    place = urlsplit(f"//{part}")
    if not place.hostname or place.port == 0 or "@" in part:
        raise ValueError("no address of a node")
    return place.hostname, place.port or DEFAULT_PORT
