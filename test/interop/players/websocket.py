# SPDX-License-Identifier: Apache-2.0
"""Players on the Python library websockets: old client, lower-case client, old manager.

Each reads exactly the keys that the program it plays knows, refuses to go on without them,
and keeps a transcript.
"""
import asyncio
import datetime
import http
import json
import time
import uuid

import websockets

from harness import Failed, Transcript, check, within

OLD_CLIENT_KEYS = ["message_id", "type", "from_entity", "to_entity", "timestamp", "payload",
                   "signature"]


def now():
    return time.time() if time.time() % 1 else time.time() + 0.5


def iso():
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


class Client:
    """A WebSocket client that offers permessage-deflate, as the library does by itself."""

    def __init__(self, node, entity, query="", headers=None):
        self.node, self.entity, self.query = node, entity, query
        self.headers = headers or {}
        self.transcript = Transcript()

    async def __aenter__(self):
        self.ws = await within(websockets.connect(
            self.node.ws_url + self.query, extra_headers=self.headers, max_size=None,
            ping_interval=None))
        await self.arrived()
        return self

    async def arrived(self):
        """What the program does first."""

    async def __aexit__(self, *unused):
        await within(self.ws.close())

    async def get(self):
        """The next frame, read."""
        try:
            return self.transcript.got(await within(self.ws.recv()))
        except asyncio.TimeoutError:
            raise Failed(f"no frame came after {self.transcript.lines}") from None

    async def closed(self):
        """Reads up to the close: (code, reason)."""
        try:
            while True:
                self.transcript.got(await within(self.ws.recv()))
        except websockets.ConnectionClosed as end:
            return (end.rcvd.code, end.rcvd.reason) if end.rcvd else (1006, "")

    async def put(self, text):
        await within(self.ws.send(self.transcript.sent(text)))


class OldClient(Client):
    """The old WebSocket client: upper-case types, seven keys."""

    def frame(self, kind, payload, signature=None):
        return {"message_id": str(uuid.uuid4()), "type": kind, "from_entity": self.entity,
                "to_entity": "node", "timestamp": now(), "payload": payload,
                "signature": signature}

    async def say(self, kind, payload, **more):
        frame = self.frame(kind, payload, **more)
        await self.put(json.dumps(frame))
        return frame["message_id"]

    async def arrived(self):
        await self.say("HELLO", {"version": "1.2",
                                 "capabilities": ["websocket", "ed25519", "heartbeat"]})

    def known(self, frame):
        """The frame as this program sees it: its seven keys, all of which it needs."""
        missing = [key for key in OLD_CLIENT_KEYS if key not in frame]
        check(f"keys that an old client needs, in {frame}", missing, [])
        check("type of the timestamp", type(frame["timestamp"]), float)
        return {key: frame[key] for key in OLD_CLIENT_KEYS}

    async def ready(self):
        """Reads up to the READY that answers HELLO."""
        while True:
            frame = await self.get()
            if frame["type"] == "READY":
                return frame

    async def handle(self, acknowledge=True):
        """The next MESSAGE, acknowledged; answers heartbeats, pongs too, as it always does."""
        while True:
            frame = await self.get()
            if frame["type"] == "HEARTBEAT":
                await self.say("HEARTBEAT", {"type": "pong", "timestamp": now()})
            elif frame["type"] == "MESSAGE":
                if acknowledge:
                    await self.say("ACK", {"ack_message_id": frame["message_id"]})
                return self.known(frame)


class LowerClient(Client):
    """A client that speaks to us as to the old manager."""

    async def say(self, kind, payload=None, **more):
        frame = {"type": kind, "payload": payload or {}, "timestamp": iso(),
                 "message_id": str(uuid.uuid4()), **more}
        await self.put(json.dumps(frame))
        return frame["message_id"]


class Manager:
    """The old WebSocket server. `handlers` answers some types; the rest is acknowledged by
    message_received. Sends nothing of its own accord but its greeting."""

    def __init__(self, entity="manager", refuse_token=None, port=0):
        self.entity, self.refuse_token, self.port = entity, refuse_token, port
        self.connections = asyncio.Queue()
        self.upgrades = []  # (path, headers) of each
        self.requests = asyncio.Queue()  # HTTP requests that are no upgrade

    async def __aenter__(self):
        self.server = await websockets.serve(
            self._serve, "127.0.0.1", self.port, process_request=self._upgrade,
            ping_interval=None, max_size=1 << 20)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *unused):
        self.server.close()
        await within(self.server.wait_closed())

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def _upgrade(self, path, headers):
        if "Upgrade" not in headers:
            await self.requests.put(path)
            return http.HTTPStatus.OK, {"Content-Type": "application/json"}, b'{"status":"healthy"}'
        self.upgrades.append((path, headers))
        if self.refuse_token and headers.get("Authorization") == f"Bearer {self.refuse_token}":
            return http.HTTPStatus.FORBIDDEN, [], b""
        return None

    async def _serve(self, ws, path):
        connection = ManagerConnection(self, ws)
        await connection.greet()
        await self.connections.put(connection)
        await ws.wait_closed()

    async def connection(self):
        return await within(self.connections.get())


class ManagerConnection:
    def __init__(self, manager, ws):
        self.manager, self.ws = manager, ws
        self.transcript = Transcript()

    async def greet(self):
        await self.say("status", {
            "event": "connected", "entity_id": self.manager.entity,
            "session_id": str(uuid.uuid4()), "protocol_version": "1.1",
            "capabilities": ["messaging", "heartbeat"], "timestamp": iso()})

    async def say(self, kind, payload, **more):
        frame = {"type": kind, "payload": payload, "timestamp": iso(),
                 "message_id": str(uuid.uuid4()), **more}
        await self.put(json.dumps(frame))

    async def put(self, text):
        await within(self.ws.send(self.transcript.sent(text)))

    async def get(self):
        try:
            return self.transcript.got(await within(self.ws.recv()))
        except asyncio.TimeoutError:
            raise Failed(f"no frame came after {self.transcript.lines}") from None

    async def closed(self):
        try:
            while True:
                self.transcript.got(await within(self.ws.recv()))
        except websockets.ConnectionClosed as end:
            return (end.rcvd.code, end.rcvd.reason) if end.rcvd else (1006, "")

    async def close(self, code=1000, reason=""):
        await within(self.ws.close(code, reason))

    async def acknowledge(self, frame):
        await self.say("status", {"event": "message_received", "original_type": frame["type"],
                                  "seq": frame["seq"]})

    async def handle(self):
        """The next message, acknowledged as one whose type has no handler."""
        frame = await self.get()
        await self.acknowledge(frame)
        return frame
