"""Programs that run as long as the tests do, as somebody who may do nothing else."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

#: Database servers refuse to run as root.
NOBODY = "nobody"


class Missing(Exception):  # noqa: N818 -- a reason to skip, not an error
    """What isn't installed, and how to get it."""


def find(program, package, *folders):
    """Return where a program is; raise ``Missing`` if it isn't installed."""
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"], "/usr/sbin"])
    found = shutil.which(program, path=path)
    if found is None:
        raise Missing(f"{program} isn't installed: apt install {package}")
    return found


def free_ports(count):
    """Return ports of the loopback on which nobody listens."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def eventually(is_so, *, seconds=60, what="it"):
    """Wait until a function returns something true, and return that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := is_so():
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{what} didn't happen within {seconds} s.")


@contextmanager
def closed_if_it_fails(server):
    """Leave nothing of a server that doesn't start."""
    try:
        yield
    except BaseException:
        server.close()
        raise


class Folder:
    """A temporary folder that belongs to whoever runs the servers."""

    def __init__(self):
        self.path = Path(tempfile.mkdtemp(prefix="optilock-cluster-"))
        self.give_away(self.path)

    @staticmethod
    def give_away(path):
        if os.geteuid() == 0:
            nobody = pwd.getpwnam(NOBODY)
            os.chown(path, nobody.pw_uid, nobody.pw_gid)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


def _as_nobody(*options):
    if os.geteuid() != 0:
        return ["setpriv", *options] if options else []
    group = str(pwd.getpwnam(NOBODY).pw_gid)
    who = ["--reuid", NOBODY, "--regid", group, "--clear-groups"]
    return ["setpriv", *who, *options]


class Server:
    """A database server in a folder of its own, with a database ``optilock``."""

    #: What is raised as long as it doesn't answer.
    unreachable = ()
    #: The signal that tells it to stop at once, but tidily.
    end = signal.SIGTERM

    def __init__(self):
        self.folder = Folder()
        self.data = self.folder.path / "data"
        [self.port] = free_ports(1)
        self.process = None

    @classmethod
    def new(cls, *args, **kwargs):
        """Make a server and start it."""
        self = cls(*args, **kwargs)
        with closed_if_it_fails(self):
            self.install()
            self.start()
            self.execute("CREATE DATABASE optilock")
        return self

    def start(self, *options):
        command = [*self.command, *options]
        self.process = Process(command, cwd=self.folder.path, end=self.end)
        self.process.wait_until(self.answers)

    def answers(self):
        try:
            self.execute("SELECT 1")
        except self.unreachable:
            return False
        return True

    def stop(self):
        self.process.stop()

    def kill(self):
        """End it as a power cut would."""
        self.process.kill()

    def restart(self):
        self.stop()
        self.start()

    def close(self):
        if self.process is not None:
            self.stop()
        self.folder.remove()


def run(*command, cwd):
    """Run a program to its end; what it said is told if it fails."""
    done = subprocess.run(  # noqa: S603 -- the tests' own commands
        [*_as_nobody(), *map(str, command)],
        cwd=cwd,
        env={**os.environ, "HOME": str(cwd)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}")
    return done.stdout


class Process:
    """A server. It ends with the tests, even if these are killed.

    Start it in the main thread: strictly, it ends with the thread that started it.

    Args:
        command: the program and its arguments.
        cwd: a folder, where its output goes into ``output``.
        end: the signal that tells it to stop at once, but tidily.
    """

    def __init__(self, command, *, cwd, end):
        self.end = end
        self.log = cwd / "output"
        death = signal.Signals(end).name.removeprefix("SIG")
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(  # noqa: S603 -- the tests' own commands
                [*_as_nobody("--pdeathsig", death), *map(str, command)],
                cwd=cwd,
                env={**os.environ, "HOME": str(cwd)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_running(self):
        return self.popen.poll() is None

    def wait_until(self, is_so):
        """Wait until the server is ready; tell what it said if it ends instead."""

        def ready_or_gone():
            return not self.is_running or is_so()

        try:
            eventually(ready_or_gone, what="the start of a server")
        except TimeoutError as error:
            raise RuntimeError(self.output) from error
        if not self.is_running:
            raise RuntimeError(self.output)

    @property
    def output(self):
        return self.log.read_text(errors="replace")[-5000:]

    def stop(self):
        """Let it end, and what it has started."""
        if self.is_running:
            self.popen.send_signal(self.end)
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(20)
        self.kill()

    def kill(self):
        """End it and what it has started, without a chance to tidy up."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(20)
