"""What a REDIS_URL names: one server, or the nodes of a cluster."""

import pytest

from storage.redis_url import is_cluster, node_url, seeds_of


def test_a_cluster_is_named_by_its_scheme() -> None:
    assert is_cluster("redis+cluster://one/")
    assert is_cluster("rediss+cluster://one/")
    assert not is_cluster("redis://one/")
    assert not is_cluster("unix+cluster://one/")


def test_the_seeds_are_the_hosts_with_their_ports_or_the_usual_one() -> None:
    seeds = seeds_of("redis+cluster://me:p%40w@one:7000,two,[::1]:7002/")
    assert seeds == (("one", 7000), ("two", 6379), ("::1", 7002))


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://one,,two",
        "redis+cluster://one:port",
        "redis+cluster://one:0",
        "redis+cluster://one/2",
    ],
)
def test_a_url_that_names_no_nodes_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        seeds_of(url)


def test_a_node_is_spoken_to_as_the_cluster_is() -> None:
    url = "rediss+cluster://me:pw@one:7000,two:7001/?ssl_check_hostname=false"
    expected = "rediss://me:pw@two:7001/?ssl_check_hostname=false"
    assert node_url(url, ("two", 7001)) == expected
    assert node_url("redis+cluster://one", ("fd00::1", 7001)) == "redis://[fd00::1]:7001"
