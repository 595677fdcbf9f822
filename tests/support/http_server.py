"""The HTTP server under the fakes that listen on a port."""

import socket
import sys
from contextlib import suppress
from http.server import ThreadingHTTPServer
from threading import Thread
from typing import Any, Self


class HttpServer(ThreadingHTTPServer):
    """Leaves nothing behind: neither a thread for each connection that a client keeps, nor a traceback."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._connections = set[socket.socket]()

    def keep(self, connection: socket.socket) -> None:
        """Close a connection with the others, one that was made of another."""
        self._connections.add(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.keep(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def start(self) -> Self:
        """Serve in a thread of its own."""
        self.daemon_threads = True
        options = {"poll_interval": 0.01}
        self._thread = Thread(target=self.serve_forever, kwargs=options, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Serve no more, and end the thread."""
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that has seen enough hangs up: tests do that on purpose.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
