# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A web server on this machine that misbehaves as a test asks it to."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves ``files``, and misbehaves as the test sets it up.

    ``cuts`` are numbers of bytes after which the next answers end; ``stalls`` how many answers stop
    after half; ``statuses`` what the next requests are answered with instead.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.stalls = 0
        self.statuses: list[int] = []
        self.knows_ranges = True
        self.tells_length = True
        self.asked: list[tuple[str, str | None]] = []
        self.let_go = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.asked]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append((self.path, asked))
        content = server.files.get(self.path.removeprefix("/"))
        status = server.statuses.pop(0) if server.statuses else 200 if content is not None else 404
        if status != 200:
            return self.send_error(status)
        start = int(asked[6:-1]) if asked and server.knows_ranges else 0
        if asked and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            return self.end_headers()
        self.send_response(206 if asked and server.knows_ranges else 200)
        if asked and server.knows_ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.tells_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.send_body(content[start:])

    def send_body(self, body: bytes):
        if self.server.stalls:
            self.server.stalls -= 1
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.server.let_go.wait(60)
        elif self.server.cuts:
            self.wfile.write(body[: self.server.cuts.pop(0)])
        else:
            self.wfile.write(body)
