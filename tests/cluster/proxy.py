"""A way to a server that can be cut just when an answer is on it."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress


class Proxy:
    """Listens on a port of its own, and hands everything on to a server.

    Until told otherwise. ``cut()`` is for one time.
    """

    def __init__(self, port):
        self.target = port
        self.lock = threading.Lock()
        self.text = None
        self.is_delivered = True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sockets = [self.listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, text, *, is_delivered):
        """Cut the connection on which a client says this next.

        Args:
            text: what it says, in capitals.
            is_delivered: whether the server hears it, and only the answer is lost.
        """
        with self.lock:
            # MySQL's drivers say AUTOCOMMIT at both ends of a block.
            self.text = re.compile(b"(?<!AUTO)" + text.encode())
            self.is_delivered = is_delivered

    @property
    def has_cut(self):
        return self.text is None

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return  # it was closed
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                _close(client)
                continue
            self.sockets += [client, server]
            is_cut = threading.Event()
            for work in self._to_server, self._to_client:
                arguments = (client, server, is_cut)
                threading.Thread(target=work, args=arguments, daemon=True).start()

    def _to_server(self, client, server, is_cut):
        while data := _receive(client):
            with self.lock:
                hit = self.text is not None and self.text.search(data.upper())
                if hit:
                    self.text = None
            if hit:
                is_cut.set()
                if not self.is_delivered:
                    break
            with suppress(OSError):
                server.sendall(data)
        _close(client, server)

    def _to_client(self, client, server, is_cut):
        while data := _receive(server):
            if is_cut.is_set():
                break
            with suppress(OSError):
                client.sendall(data)
        _close(client, server)

    def close(self):
        _close(*self.sockets)


def _receive(source):
    try:
        return source.recv(65536)
    except OSError:
        return b""


def _close(*sockets):
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
