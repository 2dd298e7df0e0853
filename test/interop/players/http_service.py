# SPDX-License-Identifier: Apache-2.0
"""The old HTTP service, played on http.server or on aiohttp.

Both hand every POST to one script: an async function that takes the request and returns
(code, body) or (code, body, headers), or None to drop the connection without an answer. Raw
is a plain socket that records every byte and answers with what it is told.
"""
import asyncio
import http.server
import json
import threading
import time

from aiohttp import web

from harness import within

RECEIVED = (200, {"status": "received", "entity_id": "service", "verification": "disabled"})


class Request:
    def __init__(self, method, path, headers, text, connection):
        self.method, self.path, self.headers, self.text = method, path, headers, text
        self.connection = connection  # tells requests of one TCP connection from others
        self.arrived = time.monotonic()

    @property
    def envelope(self):
        return json.loads(self.text)


async def receive(request):
    """What the old service does when nothing is wrong."""
    return RECEIVED


class _Service:
    def __init__(self, script=receive):
        self.script = script
        self.requests = []  # POSTs to /message
        self.others = []  # all other requests: "METHOD path"
        self.at_once = self.at_once_max = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def envelopes(self):
        return [request.envelope for request in self.requests]

    async def answer(self, request):
        if (request.method, request.path) == ("GET", "/health"):
            self.others.append("GET /health")
            return 200, {"entity_id": "service", "status": "healthy"}
        if (request.method, request.path) != ("POST", "/message"):
            self.others.append(f"{request.method} {request.path}")
            return 404, {"detail": "Not Found"}
        self.requests.append(request)
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            return await self.script(request)
        finally:
            self.at_once -= 1


class AioService(_Service):
    """On aiohttp."""

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *unused):
        await within(self.runner.cleanup())

    async def _handle(self, request):
        answer = await self.answer(Request(request.method, request.path, request.headers,
                                           await request.text(), id(request.transport)))
        if answer is None:
            request.transport.close()
            return web.Response()
        code, body, *headers = answer
        return web.json_response(body, status=code, headers=headers[0] if headers else None)


class StdService(_Service):
    """On http.server, one thread a connection, HTTP/1.1 with keep-alive."""

    async def __aenter__(self):
        loop, service = asyncio.get_running_loop(), self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def respond(self):
                size = int(self.headers.get("Content-Length", 0))
                request = Request(self.command, self.path, self.headers,
                                  self.rfile.read(size).decode(), id(self.connection))
                answer = asyncio.run_coroutine_threadsafe(service.answer(request),
                                                          loop).result()
                if answer is None:
                    self.close_connection = True
                    return
                code, body, *headers = answer
                text = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                for key, value in (headers[0] if headers else {}).items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_HEAD = respond

            def log_message(self, *unused):
                pass

        class Server(http.server.ThreadingHTTPServer):
            block_on_close = False

            def handle_error(self, *unused):
                pass  # the node closed its connection: that is its right

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,),
                                       daemon=True)
        self.thread.start()
        return self

    async def __aexit__(self, *unused):
        await asyncio.get_running_loop().run_in_executor(None, self.server.shutdown)
        self.server.server_close()


class Raw:
    """Records every byte; answers each request with `reply`."""

    OK = (b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 70\r\n\r\n'
          b'{"status":"received","entity_id":"service","verification":"disabled"} ')

    def __init__(self, reply=OK):
        self.reply, self.bytes, self.bodies = reply, b"", []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *unused):
        self.server.close()

    async def _serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.bytes += head
                size = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length:")]
                body = await reader.readexactly(size[0]) if size else b""
                self.bytes += body
                self.bodies.append(body)
                writer.write(self.reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
