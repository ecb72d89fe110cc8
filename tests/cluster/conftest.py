"""Real servers: a primary with a standby, a cluster that is written to on each node.

They are started by the tests, on free ports of the loopback and in temporary
folders, and go with them. OPTILOCK_TEST_CLUSTER=1 asks for it.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

IS_ASKED_FOR = os.environ.get("OPTILOCK_TEST_CLUSTER")


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    skip = pytest.mark.skip(reason="starts servers: set OPTILOCK_TEST_CLUSTER=1")
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            if not IS_ASKED_FOR:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def _database_access(django_db_blocker):
    """The suite's own database isn't touched; these know which they use."""
    with django_db_blocker.unblock():
        yield


@contextmanager
def running(start):
    """Start servers; stop them whatever happens; skip if they aren't installed."""
    from cluster.processes import Missing

    with ExitStack() as stack:

        def keep(server):
            stack.callback(server.close)
            return server

        try:
            servers = start(keep)
        except Missing as missing:
            pytest.skip(str(missing))
        yield servers


@pytest.fixture(scope="package")
def replicated():
    """A primary, and a standby that is 300 ms behind."""
    postgresql = pytest.importorskip("cluster.postgresql", exc_type=ImportError)

    def start(keep):
        primary = keep(postgresql.PostgreSQL.new())
        lag = "recovery_min_apply_delay = '300ms'\n"
        return primary, keep(primary.new_standby(lag))

    with running(start) as servers:
        yield servers


@pytest.fixture
def replicated_at_once():
    """A primary that reports nothing which its standby hasn't got."""
    postgresql = pytest.importorskip("cluster.postgresql", exc_type=ImportError)

    def start(keep):
        primary = keep(postgresql.PostgreSQL.new())
        standby = keep(primary.new_standby())
        primary.configure("synchronous_standby_names = 'standby'\n")
        primary.execute("SELECT pg_reload_conf()")
        return primary, standby

    with running(start) as servers:
        yield servers


@pytest.fixture(scope="package")
def galera():
    """Three nodes, each of which is written to."""
    mariadb = pytest.importorskip("cluster.mariadb", exc_type=ImportError)
    with running(lambda keep: keep(mariadb.Galera())) as cluster:
        yield cluster


@pytest.fixture(scope="package")
def postgresql():
    """One PostgreSQL."""
    module = pytest.importorskip("cluster.postgresql", exc_type=ImportError)
    with running(lambda keep: keep(module.PostgreSQL.new())) as server:
        yield server


@pytest.fixture(scope="package")
def mariadb():
    """One MariaDB."""
    module = pytest.importorskip("cluster.mariadb", exc_type=ImportError)
    with running(lambda keep: keep(module.MariaDB.new())) as server:
        yield server


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request):
    """Each of them."""
    return request.getfixturevalue(request.param)
