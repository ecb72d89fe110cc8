"""PostgreSQL with a standby, and PgBouncer in front of it."""

from __future__ import annotations

import signal
from pathlib import Path

import psycopg

from cluster.processes import (
    Folder,
    Process,
    Server,
    closed_if_it_fails,
    eventually,
    find,
    free_ports,
    run,
)

DEBIAN = Path("/usr/lib/postgresql")
CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
max_connections = 60
shared_buffers = 16MB
deadlock_timeout = 20ms
wal_level = replica
max_wal_senders = 4
"""


def newest():
    """Return the folder of the newest PostgreSQL that Debian has installed."""
    versions = sorted(DEBIAN.glob("*/bin/postgres"), key=lambda path: path.parts[-3])
    return versions[-1].parent if versions else DEBIAN


class PostgreSQL(Server):
    """A server with a database; ``settings`` are Django's for it.

    Args:
        binaries: the folder with initdb and postgres; by default Debian's.
    """

    unreachable = psycopg.OperationalError
    end = signal.SIGINT

    def __init__(self, configuration="", *, binaries=None):
        binaries = binaries or newest()
        self.initdb = find("initdb", "postgresql", binaries)
        self.postgres = find("postgres", "postgresql", binaries)
        super().__init__()
        self.configuration = configuration

    def install(self):
        options = [
            "--no-sync",
            "--auth=trust",
            "--username=postgres",
            "--encoding=utf8",
        ]
        run(self.initdb, "-D", self.data, *options, cwd=self.folder.path)
        self.configure(CONFIGURATION + self.configuration)

    def new_standby(self, configuration=""):
        """Make a server that follows this one, and start it."""
        standby = type(self)(binaries=Path(self.postgres).parent)
        base_backup = find("pg_basebackup", "postgresql-client", newest())
        primary = (
            f"host=127.0.0.1 port={self.port} user=postgres application_name=standby"
        )
        options = ["-D", standby.data, "-R", "--no-sync", "--checkpoint=fast"]
        with closed_if_it_fails(standby):
            run(base_backup, "-d", primary, *options, cwd=standby.folder.path)
            standby.configure(configuration)
            standby.start()
        return standby

    def configure(self, configuration):
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(configuration)

    @property
    def command(self):
        return [self.postgres, "-D", self.data, "-p", self.port]

    def promote(self):
        """Let a standby take over."""
        self.execute("SELECT pg_promote()")
        eventually(lambda: self.execute("SELECT pg_is_in_recovery()") == [(False,)])

    def wait_for(self, primary):
        """Wait until this standby has applied all that is committed there."""
        [[there]] = primary.execute("SELECT pg_current_wal_insert_lsn()")
        has_it = f"SELECT pg_last_wal_replay_lsn() >= '{there}'"
        eventually(lambda: self.execute(has_it) == [(True,)])

    def execute(self, sql, dbname="postgres"):
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            dbname=dbname,
            autocommit=True,
            connect_timeout=5,
        ) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else None

    @property
    def variables(self):
        """What tells the test suite to use this server."""
        return {
            "OPTILOCK_TEST_DATABASE": "postgresql",
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "PGPASSWORD": "",
        }

    @property
    def settings(self):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": self.port,
            "USER": "postgres",
            "NAME": "optilock",
        }


class PgBouncer:
    """A pool in front of a server, which gives connections for a transaction each."""

    def __init__(self, server):
        self.program = find("pgbouncer", "pgbouncer")
        self.folder = Folder()
        [self.port] = free_ports(1)
        self.server = server
        (self.folder.path / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"optilock = host=127.0.0.1 port={server.port} user=postgres\n"
            "[pgbouncer]\n"
            "listen_addr = 127.0.0.1\n"
            f"listen_port = {self.port}\n"
            "unix_socket_dir =\n"
            "auth_type = any\n"
            "pool_mode = transaction\n"
            "default_pool_size = 5\n"
            "max_client_conn = 100\n"
            "ignore_startup_parameters = extra_float_digits,options\n"
        )
        command = [self.program, self.folder.path / "pgbouncer.ini"]
        self.process = Process(command, cwd=self.folder.path, end=signal.SIGINT)
        with closed_if_it_fails(self):
            self.process.wait_until(self.answers)

    def answers(self):
        try:
            psycopg.connect(
                host="127.0.0.1", port=self.port, user="postgres", dbname="optilock"
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def settings(self):
        return {**self.server.settings, "PORT": self.port}

    def close(self):
        self.process.stop()
        self.folder.remove()
