# SPDX-License-Identifier: Apache-2.0
"""A server that greets and then says nothing more: heartbeat, reconnect, resend.

Played on raw sockets, since WebSocket libraries answer pings by themselves. The first
connection goes silent after the greeting; on the second the node must send the same
message under the same number again, marked redelivered, and is told that it has arrived.
"""
import base64
import hashlib
import json
import os
import socket
import subprocess
import sys

BUILD = os.environ.get("BUILD", "build")
DEADLINE = 30  # seconds any single wait may take
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
failures = []


def check(what, seen, expected):
    if seen != expected:
        failures.append(f"{what}: expected {expected!r}, seen {seen!r}")


class Connection:
    def __init__(self, listener):
        self.socket, _ = listener.accept()
        self.socket.settimeout(DEADLINE)
        self.stream = self.socket.makefile("rb")
        key = b""
        while (line := self.stream.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"sec-websocket-key:"):
                key = line.split(b":", 1)[1].strip()
            elif line.startswith(b"GET "):
                self.target = line.split()[1].decode()
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.socket.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                            b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept +
                            b"\r\n\r\n")

    def send(self, message):
        data = json.dumps(message).encode()
        head = bytes([0x81, len(data)]) if len(data) < 126 else (
            bytes([0x81, 126]) + len(data).to_bytes(2, "big"))
        self.socket.sendall(head + data)

    def frame(self):
        """The next frame: (opcode, payload); None at the end."""
        head = self.stream.read(2)
        if len(head) < 2:
            return None
        size = head[1] & 127
        if size > 125:
            size = int.from_bytes(self.stream.read(2 if size == 126 else 8), "big")
        mask = self.stream.read(4)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(self.stream.read(size)))
        return head[0] & 15, data

    def greet(self, **more):
        self.send({"type": "status", "payload": {
            "event": "connected", "entity_id": "silent", "protocol_version": "1.1",
            "capabilities": ["parley/1"], "timestamp": "2023-11-14T22:13:20+00:00", **more}})

    def batch(self):
        while (frame := self.frame()) is not None:
            if frame[0] == 1 and json.loads(frame[1])["type"] == "batch":
                return json.loads(frame[1])
        return None


def goes_silent(connection):
    """Reads everything, answers nothing; returns the batch and the pings that came."""
    connection.greet()
    batch, pings = connection.batch(), 0
    try:
        while (frame := connection.frame()) is not None:
            pings += frame[0] == 9
    except ConnectionResetError:
        pass
    return batch, pings


def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        sender = subprocess.Popen(
            [f"{BUILD}/parley", "send", "--json", "--transport", "ws", "--ttl-ms", "60000",
             "--set", "transport.websocket.heartbeat_interval_ms=100",
             "--set", "transport.websocket.heartbeat_grace_ms=100",
             "--set", "transport.websocket.reconnect_min_ms=50",
             "--url", f"http://127.0.0.1:{listener.getsockname()[1]}",
             "--type", "test", '{"a":1}'], stdout=subprocess.PIPE, text=True)
        batch, pings = goes_silent(Connection(listener))
        check("pinged", pings >= 1, True)
        second = Connection(listener)
        second.greet()
        again = second.batch()
        check("the same session", again["session_id"], batch["session_id"])
        check("named in the upgrade", batch["session_id"] in second.target, True)
        check("the same number", again["first_seq"], batch["first_seq"])
        check("not marked at first", "redelivered" in batch["messages"][0], False)
        check("marked", again["messages"][0].get("redelivered"), True)
        check("the same payload", again["messages"][0]["payload"], {"a": 1})
        second.send({"type": "ACK", "payload": {"session_id": again["session_id"],
                                                "ack_seq": 1, "rejected": []}})
        result = json.loads(sender.communicate(timeout=DEADLINE)[0])
        check("outcome", result["outcome"], "delivered")
        check("attempts", result["attempts"], 2)
        check("exit code", sender.returncode, 0)
    for failure in failures:
        print(failure)
    print("interop: silent parley (raw socket) | from us | WebSocket | 1 | "
          f"{int(not failures)}")
    print(f"{len(failures)} failed")
    return 1 if failures else 0


sys.exit(main())
