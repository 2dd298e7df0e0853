# SPDX-License-Identifier: Apache-2.0
"""A foreign client speaks parley/1 to a real node, over WebSocket and HTTP, well and badly.

Each case says what PROTOCOL.md ("Between parleys", "HTTP", "Endpoints") promises. The node
is build/parley serve; its statistics tell what really ran.
"""
import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import uuid

import websockets

BUILD = os.environ.get("BUILD", "build")
DEADLINE = 20  # seconds any single wait may take
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

    def http(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text), answer

    def handled(self):
        return self.http("GET", "/stats")[1]["stats"]["handled"]

    def connect(self, query):
        return websockets.connect(f"ws://127.0.0.1:{self.port}/ws/v1/peers{query}",
                                  compression=None, max_size=None)


def batch(session, base, first, count, **extra):
    messages = [{"msg_type": "t", "payload": {"n": first + i}, "timestamp": 1700000000.5,
                 **extra} for i in range(count)]
    return {"type": "batch", "session_id": session, "base_seq": base, "first_seq": first,
            "messages": messages}


async def receive(ws):
    return json.loads(await asyncio.wait_for(ws.recv(), DEADLINE))


async def acknowledged(ws, up_to):
    """Reads until the acknowledgement reaches a number; returns the last one."""
    while True:
        frame = await receive(ws)
        if frame["type"] != "ACK":
            return frame
        if frame["payload"]["ack_seq"] >= up_to:
            return frame


async def closed_with(ws, frame=None):
    try:
        if frame is not None:
            await ws.send(frame)
        while True:
            await asyncio.wait_for(ws.recv(), DEADLINE)
    except websockets.ConnectionClosed as closed:
        return closed.code


def hello(entity):
    return {"type": "HELLO", "payload": {"version": "1.2", "entity_id": entity,
                                         "capabilities": ["parley/1", "websocket"]}}


async def websocket_delivery(node):
    session = str(uuid.uuid4())
    before = node.handled()
    async with node.connect(f"?session_id={session}&entity_id=py") as ws:
        greeting = await receive(ws)
        check("greeting", (greeting["type"], greeting["payload"]["event"]),
              ("status", "connected"))
        check("greeting names the node", greeting["payload"]["entity_id"], "node")
        check("greeting lists parley/1", "parley/1" in greeting["payload"]["capabilities"],
              True)
        check("unknown session", greeting["payload"].get("last_seq"), None)
        await ws.send(json.dumps(hello("py")))
        await ws.send(json.dumps(batch(session, 1, 1, 5)))
        ack = await acknowledged(ws, 5)
        check("cumulative acknowledgement", ack["payload"]["ack_seq"], 5)
        check("acknowledged session", ack["payload"]["session_id"], session)
        await ws.send(json.dumps(batch(session, 1, 3, 5)))  # 3..5 again, 6 and 7 anew
        ack = await acknowledged(ws, 7)
        check("handled once each", node.handled() - before, 7)
    async with node.connect(f"?session_id={session}&entity_id=py") as ws:
        greeting = await receive(ws)
        check("resume", greeting["payload"]["last_seq"], 7)
        await ws.send(json.dumps(hello("py")))
        bad = batch(session, 8, 8, 3)
        bad["messages"][1] = {"void": True}
        del bad["messages"][2]["msg_type"]
        await ws.send(json.dumps(bad))
        ack = await acknowledged(ws, 10)
        check("a malformed message is rejected by itself",
              [r["seq"] for r in ack["payload"]["rejected"]], [10])
        check("and named", "msg_type" in ack["payload"]["rejected"][0]["detail"], True)
        check("a void runs nothing", node.handled() - before, 9)
        await ws.send(json.dumps(batch(session, 11, 11, 1)))
        ack = await acknowledged(ws, 11)
        check("base_seq closes rejections", ack["payload"]["rejected"], [])


async def websocket_gap(node):
    session = str(uuid.uuid4())
    async with node.connect(f"?session_id={session}&entity_id=py") as ws:
        await receive(ws)
        await ws.send(json.dumps(hello("py")))
        await ws.send(json.dumps(batch(session, 1, 1, 1)))
        await acknowledged(ws, 1)
        await ws.send(json.dumps(batch(session, 1, 5, 1)))
        frame = await acknowledged(ws, 5)
        check("gap", (frame["type"], frame["payload"]["error"]), ("error", "SEQUENCE_GAP"))
        check("gap closes", await closed_with(ws), 4009)


async def websocket_replaced(node):
    session = str(uuid.uuid4())
    query = f"?session_id={session}&entity_id=py"
    async with node.connect(query) as first:
        await receive(first)
        async with node.connect(query) as second:
            await receive(second)
            check("the newer connection of a session stays", await closed_with(first), 1008)
            await second.send(json.dumps(hello("py")))
            await second.send(json.dumps(batch(session, 1, 1, 1)))
            await acknowledged(second, 1)


async def websocket_garbage(node):
    session = str(uuid.uuid4())
    async with node.connect(f"?session_id={session}&entity_id=py") as ws:
        await receive(ws)
        for text in ("{", "[]", '{"a":1,"a":2}', '{"type":"batch","type":"batch"}', "{}" * 2,
                     '{"type":"nonsense"}', "[" * 500):
            await ws.send(text)
            frame = await receive(ws)
            check(f"{text[:20]} draws an error", frame["type"], "error")
        await ws.send(json.dumps(hello("py")))
        await ws.send(json.dumps(batch(session, 1, 1, 1)))
        await acknowledged(ws, 1)  # the connection has survived all of it
    for frame, code in ((b"binary", 1003), ("x" * (3 << 20), 1009),
                        (json.dumps(batch("other", 1, 1, 1)), 1002)):
        async with node.connect(f"?session_id={uuid.uuid4()}&entity_id=py") as ws:
            await receive(ws)
            check(f"{frame[:12]!r} closes", await closed_with(ws, frame), code)


def unread_errors(node):
    """A client that draws errors and reads none of them is closed, before they fill memory."""
    with socket.create_connection(("127.0.0.1", node.port), DEADLINE) as connection:
        connection.settimeout(DEADLINE)
        connection.sendall(b"GET /ws/v1/peers HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\n"
                           b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                           b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        frames = b"\x81\x81\0\0\0\0{" * 10000
        try:
            for _ in range(300):
                connection.sendall(frames)
        except OSError:
            pass  # closed meanwhile: just as good
        drawn = 0
        try:
            while data := connection.recv(1 << 16):
                drawn += len(data)
        except ConnectionResetError:
            pass
        check("3,000,000 bad frames draw few errors", drawn < (32 << 20), True)


def http_delivery(node):
    session = str(uuid.uuid4())
    before = node.handled()

    def post(body):
        return node.http("POST", "/messages", json.dumps(body))

    code, ack, answer = post(batch(session, 1, 1, 4, sender_id="py"))
    check("batch over HTTP", (code, ack["payload"]["ack_seq"]), (200, 4))
    check("a parley says so", answer.getheader("Parley", "").startswith("1;"), True)
    code, ack, _ = post(batch(session, 1, 1, 4, sender_id="py"))
    check("the same again", (code, ack["payload"]["ack_seq"]), (200, 4))
    check("handled once", node.handled() - before, 4)
    code, ack, _ = post(batch(session, 1, 9, 1, sender_id="py"))
    check("gap over HTTP", (code, ack["payload"]["ack_seq"]), (409, 4))
    code, answer, _ = post(batch(session, 1, 5, 1))
    check("no sender", (code, "sender_id" in answer["detail"]), (400, True))
    code, answer, _ = post({"type": "batch", "session_id": session, "base_seq": 1})
    check("no first_seq", (code, "first_seq" in answer["detail"]), (400, True))
    code, answer, _ = node.http("POST", "/messages", "{")
    check("not JSON", (code, answer["detail"]), (400, "Invalid JSON"))


def http_message(node):
    session = str(uuid.uuid4())
    envelope = {"payload": {"a": 1}, "timestamp": 1700000000.5, "nonce": "AAECAwQFBgcICQoLDA0ODw==",
                "signature": None, "encrypted_payload": None, "sender_public_key": None,
                "jwt_token": None, "sender_id": "py", "recipient_id": "node",
                "session_id": session, "sequence_num": 1, "version": "1.0", "msg_type": "status"}

    def post(**change):
        return node.http("POST", "/message", json.dumps({**envelope, **change}))[:2]

    received = {"status": "received", "entity_id": "node", "verification": "disabled"}
    check("one envelope", post(), (200, received))
    before = node.handled()
    check("the same again", post(), (200, received))
    check("is not handled again", node.handled(), before)
    error = {"detail": "SEQUENCE_ERROR"}
    check("a lower number", post(nonce="b"), (400, error))
    check("a gap is accepted by the old rule", post(nonce="c", sequence_num=7)[0], 200)
    check("and counted", post(nonce="d", sequence_num=6), (400, error))
    check("version", post(version="7.0"), (400, {"detail": "Unsupported version: 7.0"}))
    check("no session", post(session_id=None),
          (400, {"detail": "Missing required field: session_id"}))
    check("no number", post(sequence_num=None),
          (400, {"detail": "Missing required field: sequence_num"}))
    check("unknown form", node.http("POST", "/message", '{"a":1}')[:2],
          (400, {"detail": "Unknown message format"}))


def endpoints(node):
    health = node.http("GET", "/health")[1]
    check("health's keys in order", list(health)[:11],
          ["entity_id", "port", "peers", "healthy_peers", "total_stats_entries",
           "crypto_available", "signing_enabled", "verification_enabled", "public_key",
           "status", "timestamp"])
    check("peers", node.http("GET", "/peers")[1],
          {"entity_id": "node", "peers": [], "count": 0})
    check("public key", node.http("GET", "/public-key")[1],
          {"entity_id": "node", "public_key": None})
    check("root", node.http("GET", "/")[1]["service"], "peer-communication")
    check("unknown path", node.http("GET", "/nope")[:2], (404, {"detail": "Not Found"}))
    code, body, answer = node.http("PUT", "/message", "{}")
    check("wrong method", (code, body, answer.getheader("Allow")),
          (405, {"detail": "Method Not Allowed"}, "POST"))


def play(transport, cases_of_it, run):
    """Runs cases and prints their row of the table that test/run.sh puts together."""
    passed = 0
    for case in cases_of_it:
        before = len(failures)
        run(case)
        passed += len(failures) == before
    print(f"interop: parley/1 client (Python) | to us | {transport} | {len(cases_of_it)} | "
          f"{passed}")


def main():
    with Node() as node:
        play("WebSocket",
             (websocket_delivery, websocket_gap, websocket_replaced, websocket_garbage),
             lambda case: asyncio.run(case(node)))
        play("WebSocket", (unread_errors,), lambda case: case(node))
        play("HTTP", (http_delivery, http_message, endpoints), lambda case: case(node))
    for failure in failures:
        print(failure)
    print(f"{cases} checks, {len(failures)} failed")
    return 1 if failures else 0


sys.exit(main())
