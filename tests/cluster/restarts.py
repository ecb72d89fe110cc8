"""Servers that are ended while others write to them, and come back."""

from __future__ import annotations

import time

NAMES = ("postgresql", "mariadb", "galera")


class Servers:
    """The servers of one database: a single one, or the nodes of a cluster."""

    def __init__(self, name):
        self.cluster = None
        if name == "galera":
            from cluster.mariadb import Galera

            self.cluster = Galera()
            self.all = self.cluster.nodes
        elif name == "mariadb":
            from cluster.mariadb import MariaDB

            self.all = [MariaDB.new()]
        else:
            from cluster.postgresql import PostgreSQL

            self.all = [PostgreSQL.new()]
        self.variables = self.all[0].variables

    def settings(self, number):
        """Return what a connection's settings say of the server for a process."""
        server = self.all[number % len(self.all)]
        return {"PORT": server.port}

    def restart(self, dice):
        """End one of them, tidily or as a power cut would, and let it come back."""
        server = dice.choice(self.all)
        dice.choice([server.stop, server.kill])()
        time.sleep(dice.uniform(0.2, 0.7))
        if self.cluster is None:
            server.start()
        else:
            self.cluster.rejoin(server)

    def settle(self):
        """Wait until what was committed anywhere can be read everywhere."""
        if self.cluster is not None:
            self.cluster.wait_until_applied()

    def close(self):
        for server in reversed(self.all):
            server.close()
