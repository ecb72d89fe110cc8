"""MariaDB, alone or as a Galera cluster: three servers that are all written to."""

from __future__ import annotations

from pathlib import Path

import MySQLdb

from cluster.processes import (
    Missing,
    Server,
    closed_if_it_fails,
    eventually,
    find,
    free_ports,
    run,
)

PROVIDERS = [
    Path("/usr/lib/galera/libgalera_smm.so"),
    Path("/usr/lib64/galera/libgalera_smm.so"),
]
OPTIONS = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_bin",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--performance-schema=OFF",
    "--max-connections=100",
]


class MariaDB(Server):
    """A server with a database; ``settings`` are Django's for it."""

    unreachable = MySQLdb.OperationalError

    def __init__(self, *options):
        self.mariadbd = find("mariadbd", "mariadb-server")
        super().__init__()
        self.options = [*OPTIONS, *options]

    def install(self):
        run(
            find("mariadb-install-db", "mariadb-server"),
            "--no-defaults",
            f"--datadir={self.data}",
            "--auth-root-authentication-method=normal",
            "--skip-name-resolve",
            "--skip-test-db",
            "--innodb-log-file-size=16M",
            cwd=self.folder.path,
        )

    @property
    def command(self):
        return [
            self.mariadbd,
            "--no-defaults",
            f"--datadir={self.data}",
            f"--socket={self.folder.path / 'socket'}",
            f"--port={self.port}",
            f"--pid-file={self.folder.path / 'pid'}",
            *self.options,
        ]

    def execute(self, sql):
        connection = MySQLdb.connect(
            host="127.0.0.1", port=self.port, user="root", connect_timeout=30
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall()
        finally:
            connection.close()

    @property
    def variables(self):
        """What tells the test suite to use this server."""
        who = {"MYSQL_USER": "root", "MYSQL_PASSWORD": ""}
        return {
            **who,
            "OPTILOCK_TEST_DATABASE": "mariadb",
            "MYSQL_PORT": str(self.port),
        }

    @property
    def settings(self):
        return {
            "ENGINE": "django.db.backends.mysql",
            "HOST": "127.0.0.1",
            "PORT": self.port,
            "USER": "root",
            "NAME": "optilock",
        }


class Node(MariaDB):
    """One of the servers of a cluster."""

    def __init__(self):
        provider = next((path for path in PROVIDERS if path.exists()), None)
        if provider is None:
            raise Missing("Galera isn't installed: apt install galera-4")
        find("rsync", "rsync")
        super().__init__()
        self.group, self.incremental, self.whole = free_ports(3)
        self.provider = provider

    @property
    def address(self):
        return f"127.0.0.1:{self.group}"

    def join(self, addresses):
        """Start, as the first node if there are no others."""
        provider = {
            "gmcast.listen_addr": f"tcp://{self.address}",
            "ist.recv_addr": f"127.0.0.1:{self.incremental}",
            "base_port": str(self.group),
            "gcache.size": "32M",
            # One that was killed is missed sooner than after 15 seconds.
            "evs.keepalive_period": "PT0.5S",
            "evs.suspect_timeout": "PT3S",
            "evs.inactive_timeout": "PT6S",
        }
        self.start(
            "--wsrep-on=ON",
            f"--wsrep-provider={self.provider}",
            f"--wsrep-cluster-address=gcomm://{','.join(addresses)}",
            f"--wsrep-node-address={self.address}",
            f"--wsrep-sst-receive-address=127.0.0.1:{self.whole}",
            f"--wsrep-provider-options={';'.join(map('='.join, provider.items()))}",
            "--wsrep-sst-method=rsync",
            "--wsrep-cluster-name=optilock",
            "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2",
            "--log-bin",
        )

    def answers(self):
        try:
            return self.status("wsrep_ready") == "ON"
        except self.unreachable:
            return False

    def status(self, name):
        return dict(self.execute(f"SHOW STATUS LIKE '{name}'")).get(name)


class Galera:
    """Three nodes; each of them may be stopped and come back."""

    def __init__(self, size=3):
        self.nodes = [Node() for _ in range(size)]
        with closed_if_it_fails(self):
            self.begin()

    def begin(self):
        first, *others = self.nodes
        first.install()
        first.join([])
        first.execute("CREATE DATABASE optilock")
        for node in others:
            node.data.mkdir()
            node.folder.give_away(node.data)
            node.join([first.address])
        self.wait_until_complete()

    def wait_until_complete(self):
        """Wait until each node that runs knows of all the others."""
        running = [node for node in self.nodes if node.process.is_running]
        size = str(len(running))
        eventually(
            lambda: all(node.status("wsrep_cluster_size") == size for node in running),
            what=f"a cluster of {size}",
        )

    def rejoin(self, node):
        """Start a node that was stopped."""
        node.join([other.address for other in self.nodes if other is not node])
        self.wait_until_complete()

    def wait_until_applied(self):
        """Wait until each node has applied what all others have committed."""
        eventually(
            lambda: (
                len({node.status("wsrep_last_committed") for node in self.nodes}) == 1
            )
        )

    def close(self):
        # The last one to go has nobody to wait for.
        for node in reversed(self.nodes):
            node.close()
