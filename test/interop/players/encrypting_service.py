# SPDX-License-Identifier: Apache-2.0
"""An old service that answers handshakes and decrypts, and a node of ours in front of it.

Each knows the other's key; both sign all they say.
"""
import asyncio
import json
import tempfile

import aiohttp
from harness import DEADLINE, Node
from http_service import RECEIVED, AioService
from signing import Signer, holds, six
from threeway import answer, step

THEM, US, STRANGER = Signer(1), Signer(2), Signer(3)
REFUSED = (400, {"detail": "Decryption failed"})


async def post(node, value):
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE)) as http:
        async with http.post(node.url + "/message", data=json.dumps(value)) as reply:
            return reply.status, await reply.json()


class Old(AioService):
    """An old service "them" in front of a node "node": it responds to handshakes, decrypts, and
    keeps every step it hears."""

    def __init__(self, signer=THEM, adopt=None, **changes):
        super().__init__(self._script)
        self.signer, self.adopt, self.changes = signer, adopt, changes
        self.steps, self.sessions, self.opened, self.raw = asyncio.Queue(), [], [], []
        self.node, self.tasks, self.mute = None, [], 0

    async def _script(self, request):
        value, kind = request.envelope, request.envelope["msg_type"]
        if not holds(US.hex, six(value), value["signature"] or ""):
            return 400, {"detail": "Invalid signature"}
        if kind == "handshake" and self.mute == 0:
            self.tasks.append(asyncio.ensure_future(self._ack(value)))
        elif kind == "handshake":
            self.mute -= 1
        if kind.startswith("handshake"):
            self.steps.put_nowait(value)
            return RECEIVED
        return self._decrypt(value)

    async def _ack(self, value):
        payload, session = answer(self.signer, value["payload"], self.adopt, **self.changes)
        self.sessions.append(session)
        self.ack = await post(self.node, step(self.signer, "them", "node", "handshake_ack",
                                              payload["session_id"], payload))

    def _decrypt(self, value):
        self.raw.append(value)
        for session in self.sessions:
            text = session.opened(value["payload"])
            if text is not None:
                self.opened.append(text)
                return RECEIVED
        return REFUSED


class Pair:
    """A node of ours and an old service that know each other's keys."""

    def __init__(self, old=None, encryption="session", **peer):
        self.old = old or Old()
        self.peer = {"id": "them", "public_key": THEM.hex, "encryption": encryption,
                     "preference": "http_only", **peer}

    async def __aenter__(self):
        self.directory = tempfile.TemporaryDirectory()
        await self.old.__aenter__()
        identity = US.pem(f"{self.directory.name}/identity.pem")
        self.node = Node([{**self.peer, "url": self.old.url}],
                         security={"identity_file": identity, "signatures": "required"})
        await self.node.__aenter__()
        self.old.node = self.node
        return self

    async def __aexit__(self, *why):
        await self.node.__aexit__(*why)
        await self.old.__aexit__(*why)
        self.directory.cleanup()
