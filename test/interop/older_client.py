# SPDX-License-Identifier: Apache-2.0
"""Foreign WebSocket clients of the two older dialects at a real node.

One plays the older client to the letter (upper case, seven keys), one speaks lower case as
to the older server. PROTOCOL.md, "Older WebSocket peers", says what each must hear.
"""
import asyncio
import json
import os
import subprocess
import sys
import urllib.request

import websockets

BUILD = os.environ.get("BUILD", "build")
DEADLINE = 20  # seconds any single wait may take
SEVEN = ["message_id", "type", "from_entity", "to_entity", "timestamp", "payload", "signature"]
failures = []
cases = 0


def check(what, seen, expected):
    global cases
    cases += 1
    if seen != expected:
        failures.append(f"{what}: expected {expected!r}, seen {seen!r}")


class Node:
    def __enter__(self):
        self.process = subprocess.Popen(
            [f"{BUILD}/parley", "serve", "--listen", "127.0.0.1:0", "--node-id", "node",
             "--json"],
            stdout=subprocess.PIPE, text=True)
        self.port = json.loads(self.process.stdout.readline())["port"]
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        check("exit code of the node", self.process.wait(DEADLINE), 0)

    def unhandled(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats",
                                    timeout=DEADLINE) as answer:
            stats = json.load(answer)["stats"]
        return stats["unhandled"] + stats["handled"]

    def connect(self, query):
        return websockets.connect(f"ws://127.0.0.1:{self.port}/ws/v1/peers{query}",
                                  max_size=None)  # offers permessage-deflate


async def hear(ws):
    return json.loads(await asyncio.wait_for(ws.recv(), DEADLINE))


async def closed_with(ws):
    try:
        while True:
            await asyncio.wait_for(ws.recv(), DEADLINE)
    except websockets.ConnectionClosed as closed:
        return closed.code, closed.reason


class OldClient:
    def __init__(self, ws, entity="old"):
        self.ws, self.entity, self.count = ws, entity, 0

    async def say(self, kind, payload, message_id=None, entity=None):
        self.count += 1
        message_id = message_id or f"{self.entity}-{self.count}"
        await self.ws.send(json.dumps({
            "message_id": message_id, "type": kind, "from_entity": entity or self.entity,
            "to_entity": "node", "timestamp": 1700000000.5, "payload": payload,
            "signature": None}))
        return message_id

    async def hear(self, what, kind):
        frame = await hear(self.ws)
        check(f"{what}: keys", list(frame), SEVEN)
        check(f"{what}: addressed", (frame.get("type"), frame.get("from_entity"),
                                     frame.get("to_entity"), frame.get("signature")),
              (kind, "node", self.entity, None))
        check(f"{what}: time", isinstance(frame.get("timestamp"), float), True)
        return frame["payload"]

    async def start(self):
        frame = await hear(self.ws)
        check("greeting", (frame["type"], frame["payload"]["event"],
                           frame["payload"]["protocol_version"]),
              ("status", "connected", "1.1"))
        check("greeting's keys", list(frame), ["type", "payload", "timestamp", "message_id"])
        check("greeting's payload begins", list(frame["payload"])[:6],
              ["event", "entity_id", "session_id", "protocol_version", "capabilities",
               "timestamp"])
        await self.say("HELLO", {"version": "1.2",
                                 "capabilities": ["websocket", "ed25519", "heartbeat"]})
        check("ready", (await self.hear("READY", "READY"))["version"], "1.2")


async def upper_case(node):
    before = node.unhandled()
    async with node.connect("?entity_id=old") as ws:
        check("no compression", ws.extensions, [])
        client = OldClient(ws)
        await client.start()
        first = await client.say("MESSAGE", {"text": "hi"})
        check("ACK", await client.hear("ACK", "ACK"), {"ack_message_id": first})
        await client.say("MESSAGE", {"text": "hi"}, first)
        check("ACK again", await client.hear("ACK", "ACK"), {"ack_message_id": first})
        check("run once", node.unhandled() - before, 1)
        await client.say("HEARTBEAT", {"type": "ping", "timestamp": 1700000000.5})
        pong = await client.hear("pong", "HEARTBEAT")
        check("pong", (list(pong), pong["type"]), (["type", "timestamp"], "pong"))
        await client.say("HEARTBEAT", {"type": "pong", "timestamp": 1700000000.5})
        await client.say("MESSAGE", {}, entity="other")
        check("another's frame, and the pong unanswered", await hear(ws),
              {"type": "error", "payload": {"error": "Unknown sender: other"}})
        await client.say("BYE", {"reason": "done"})
        check("goodbye", (await closed_with(ws))[0], 1000)
    check("not run for another", node.unhandled() - before, 1)


async def many(node):
    """A burst, as fast as it goes: everything is acknowledged, in order."""
    async with node.connect("?entity_id=busy") as ws:
        client = OldClient(ws, "busy")
        await client.start()
        ids = [await client.say("MESSAGE", {"n": n}) for n in range(2000)]
        heard = [(await hear(ws))["payload"].get("ack_message_id") for _ in ids]
        check("a burst is acknowledged", heard == ids, True)


async def replaced(node):
    async with node.connect("?entity_id=twice") as first:
        await OldClient(first, "twice").start()
        async with node.connect("?entity_id=twice") as second:
            client = OldClient(second, "twice")
            await client.start()
            check("the older connection", await closed_with(first),
                  (1008, "New connection established"))
            await client.say("MESSAGE", {})
            await client.hear("the newer connection", "ACK")


async def lower_case(node):
    before = node.unhandled()
    async with node.connect("?entity_id=low&session_id=s-1") as ws:
        await hear(ws)
        for message, kind, payload in (
                ({"type": "ping", "payload": {}, "seq": 1}, "pong", {"seq": 1}),
                ({"type": "ping", "payload": {"seq": 2}}, "pong", {"seq": 2}),
                ({"type": "capability_exchange", "payload": {"capabilities": ["x"]}},
                 "capability_exchange", {"acknowledged": True}),
                ({"type": "status", "payload": {}}, "status",
                 {"event": "status", "entity_id": "node"}),
                ({"type": "task", "payload": {"a": 1}, "seq": 3}, "status",
                 {"event": "message_received", "original_type": "task", "seq": 3}),
                ({"type": "peer_message", "version": "1.0", "msg_type": "t", "payload": {},
                  "sender_id": "low", "timestamp": 1700000000.5, "nonce": "n-1",
                  "session_id": "s-1", "sequence_num": 4}, "status",
                 {"event": "message_received", "original_type": "peer_message", "seq": 4}),
                ({"type": "peer_message", "version": "1.0", "msg_type": "t", "payload": {},
                  "sender_id": "low", "timestamp": 1700000000.5, "nonce": "n-2",
                  "session_id": "s-1", "sequence_num": 4}, "status",
                 {"event": "message_received", "original_type": "peer_message", "seq": 4})):
            await ws.send(json.dumps(message))
            frame = await hear(ws)
            check(f"answer to {message['type']}",
                  (frame["type"], {key: frame["payload"].get(key) for key in payload}),
                  (kind, payload))
            check(f"keys of the answer to {message['type']}", list(frame),
                  ["type", "payload", "timestamp", "message_id"])
        check("run once each", node.unhandled() - before, 2)
        for text, error in (("{", "Invalid JSON format"), ("[]", "Unknown message format"),
                            ('{"type":"task"}', "Unknown message format")):
            await ws.send(text)
            check(text, await hear(ws), {"type": "error", "payload": {"error": error}})
        await ws.send(json.dumps({"type": "task", "payload": {"x": "y" * (1 << 20)}}))
        check("too large", await hear(ws),
              {"type": "error", "payload": {"error": "Message too large (max 1MB)"}})
        await ws.send(json.dumps({"type": "task", "payload": {"x": "y" * (2 << 20)}}))
        check("far too large", (await closed_with(ws))[0], 1009)


async def shut_down(node):
    ws = await node.connect("?entity_id=last")
    await OldClient(ws, "last").start()
    node.process.terminate()
    check("shut down", await closed_with(ws), (1001, "Server shutting down"))


def main():
    with Node() as node:
        for case in (upper_case, many, replaced, lower_case, shut_down):
            asyncio.run(case(node))
    for failure in failures:
        print(failure)
    print(f"{cases} checks, {len(failures)} failed")
    return 1 if failures else 0


sys.exit(main())
