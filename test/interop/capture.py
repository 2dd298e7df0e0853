# SPDX-License-Identifier: Apache-2.0
"""What somebody sees who reads along: captures on loopback, a random marker in each message.

Plain messages show theirs. Sealed ones, without TLS, do not; neither do payloads encrypted for
an older peer, by identities or in a session: it is played in Python and decrypts them, and its
ciphertexts must be in the capture where the markers are not. tcpdump writes what it sees to a
pipe; streams are put together, and WebSocket frames unmasked, before anybody searches them. A
capture is complete when a request sent last has appeared in it.

Does nothing, and says so, where tcpdump is missing or may not capture.
"""
import asyncio
import base64
import secrets
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, sys.path[0] + "/players")
from encrypting_service import THEM, US, Pair
from harness import Node, case, check, play, within
from http_service import AioService
from threeway import identity_key, open_by_identity

MESSAGES = 25
TCPDUMP = ["tcpdump", "-i", "lo", "-n", "-B", "16384", "-U", "-w", "-"]


# ---- Capturing ----

def streams(pcap):
    """The bytes of each TCP stream, in order, whatever was sent twice."""
    order = "<" if pcap[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    at, found, starts = 24, {}, {}
    while at + 16 <= len(pcap):
        size = struct.unpack_from(order + "I", pcap, at + 8)[0]
        packet = pcap[at + 16 + 14:at + 16 + size]  # behind the Ethernet header
        at += 16 + size
        if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != 6:
            continue
        tcp = packet[(packet[0] & 15) * 4:struct.unpack_from(">H", packet, 2)[0]]
        flow = packet[12:20] + tcp[:4]
        sequence = struct.unpack_from(">I", tcp, 4)[0]
        if tcp[13] & 2:
            starts[flow], sequence = sequence + 1, sequence + 1
        data = tcp[(tcp[12] >> 4) * 4:]
        offset = (sequence - starts.get(flow, sequence)) & 0xFFFFFFFF
        stream = found.setdefault(flow, bytearray())
        if data:
            stream.extend(bytes(max(0, offset + len(data) - len(stream))))
            stream[offset:offset + len(data)] = data
    return [bytes(stream) for stream in found.values()]


def unmasked(stream):
    """The payloads of the WebSocket frames that follow an upgrade."""
    head, _, rest = stream.partition(b"\r\n\r\n")
    if b"upgrade: websocket" not in head.lower():
        return b""
    text, at = b"", 0
    while at + 2 <= len(rest):
        masked, size = rest[at + 1] & 128, rest[at + 1] & 127
        at += 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            size = int.from_bytes(rest[at:at + wide], "big")
            at += wide
        mask = rest[at:at + 4] if masked else bytes(4)
        at += 4 if masked else 0
        data = rest[at:at + size]
        key = (mask * (len(data) // 4 + 1))[:len(data)]
        text += (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(len(data), "big")
        at += size
    return text


def shapes(marker):
    """A marker as it stands, and inside the base64 of something."""
    yield marker.encode()
    for shift in range(3):
        yield base64.b64encode(b"x" * shift + marker.encode())[4 if shift else 0:-4]


class Capture:
    """Everything from and to these ports."""

    def __init__(self, *ports):
        self.ports, self.pcap = ports, b""

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            *TCPDUMP, " or ".join(f"tcp port {port}" for port in self.ports),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while b"listening on" not in (line := await within(self.process.stderr.readline())):
            check("tcpdump began", bool(line), True)
        return self

    async def __aexit__(self, kind, *unused):
        if self.process.returncode is None:
            self.process.terminate()
        told = (await within(self.process.communicate()))[1]
        if kind is None:
            check("nothing was missed", b"\n0 packets dropped by kernel" in told, True)

    async def end(self):
        """Waits until all of it is here."""
        last = secrets.token_hex(16).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[0])
        writer.write(b"GET /health?" + last + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while last not in self.pcap:
            data = await within(self.process.stdout.read(65536))
            check("tcpdump goes on", bool(data), True)
            self.pcap += data
        writer.close()

    def count(self, markers):
        """How many of them can be read."""
        seen = b"\n".join(text for stream in streams(self.pcap)
                          for text in (stream, unmasked(stream)))
        return sum(any(shape in seen for shape in shapes(marker)) for marker in markers)


async def look(name, ports, send, expected):
    """Captures what `send` sends; `expected` says how many markers can be read. What `send`
    returns must all be there."""
    markers = [secrets.token_hex(16) for _ in range(MESSAGES)]
    async with Capture(*ports) as capture:
        visible = await send(markers) or []
        await capture.end()
        found = capture.count(markers)
        print(f"capture: {name:44} {MESSAGES} messages, {len(capture.pcap):6} bytes: "
              f"{found} markers found")
        check("markers found", found, expected)
        check("ciphertexts found", capture.count(visible), len(visible))


# ---- Two parleys ----

async def between_parleys(name, preference, expected, **security):
    with tempfile.TemporaryDirectory() as directory:
        def settings(who, file):
            return {"security": {"identity_file": who.pem(f"{directory}/{file}")}} if security else {}

        def peer(who):
            return {"public_key": who.hex, **security} if security else {}
        receiver = Node([{"id": "sender", **peer(US)}], node_id="receiver",
                        **settings(THEM, "them.pem"))
        async with receiver:
            sender = Node([{"id": "receiver", "url": receiver.url, "dialect": "parley",
                            "preference": preference, **peer(THEM)}], node_id="sender",
                          **settings(US, "us.pem"))
            async with sender:
                async def send(markers):
                    for n, marker in enumerate(markers):
                        await sender.send("receiver", f"task{n}", {"marker": marker})
                    for n, marker in enumerate(markers):
                        check("outcome", (await sender.outcome(f"task{n}"))[0], "delivered")
                        check("payload", (await receiver.message(type=f"task{n}"))["payload"],
                              {"marker": marker})
                await look(name, [receiver.port], send, expected)


for way, kind in (("http_only", "HTTP"), ("websocket_only", "WebSocket")):
    @case("tcpdump (reads along)", "plain", kind)
    async def plain(way=way, kind=kind):
        await between_parleys(f"plain, {kind}", way, MESSAGES)

    @case("tcpdump (reads along)", "sealed", kind)
    async def sealed(way=way, kind=kind):
        await between_parleys(f"sealed, without TLS, {kind}", way, 0, security_min="sealed")


# ---- To an older peer ----

@case("tcpdump (reads along)", "payload", "HTTP")
async def a_payload_by_identities():
    with tempfile.TemporaryDirectory() as directory:
        async with AioService() as service:
            async with Node([{"id": "service", "url": service.url, "preference": "http_only",
                              "dialect": "service", "public_key": THEM.hex,
                              "encryption": "payload"}],
                            security={"identity_file": US.pem(f"{directory}/us.pem")}) as node:
                async def send(markers):
                    for n, marker in enumerate(markers):
                        await node.send("service", f"task{n}", {"marker": marker})
                        check("outcome", (await node.outcome(f"task{n}"))[0], "delivered")
                    key = identity_key(THEM, US.hex)
                    payloads = [envelope["payload"] for envelope in service.envelopes]
                    check("decrypted", [open_by_identity(key, payload) for payload in payloads],
                          [{"marker": marker} for marker in markers])
                    return [payload["_encrypted_payload"]["ciphertext"] for payload in payloads]
                await look("old peer, payload encrypted by identities", [service.port], send, 0)


@case("tcpdump (reads along)", "session", "HTTP")
async def a_payload_in_a_session():
    """Both ports are looked at: the answer to our handshake comes to ours."""
    async with Pair() as pair:
        async def send(markers):
            for n, marker in enumerate(markers):
                await pair.node.send("them", f"task{n}", {"marker": marker})
            for n in range(MESSAGES):
                check("outcome", (await pair.node.outcome(f"task{n}"))[0], "delivered")
            check("decrypted", pair.old.opened, [{"marker": marker} for marker in markers])
            return ([session.id for session in pair.old.sessions] +
                    [value["payload"]["data"] for value in pair.old.raw])
        await look("old peer, payload encrypted in a session", [pair.old.port, pair.node.port],
                   send, 0)


@case("tcpdump (reads along)", "no session", "HTTP")
async def without_a_session_nothing_leaves():
    """The service answers no handshake: there is no key, and nothing goes in plain instead."""
    with tempfile.TemporaryDirectory() as directory:
        async with AioService() as service:
            async with Node([{"id": "service", "url": service.url, "preference": "http_only",
                              "dialect": "service", "public_key": THEM.hex, "ttl_ms": 3000,
                              "encryption": "session"}],
                            security={"identity_file": US.pem(f"{directory}/us.pem")}) as node:
                async def send(markers):
                    for n, marker in enumerate(markers):
                        await node.send("service", f"task{n}", {"marker": marker})
                    for n in range(MESSAGES):
                        outcome = (await node.outcome(f"task{n}"))[0]
                        check("delivered", outcome in ("delivered", "sent"), False)
                    kinds = {envelope["msg_type"] for envelope in service.envelopes}
                    check("messages that left", kinds - {"handshake"}, set())
                await look("old peer that makes no session", [service.port], send, 0)


def may_capture():
    """@return why not, or None"""
    try:
        done = subprocess.run([*TCPDUMP, "tcp", "port", "1"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=1)
        return done.stderr.decode().strip().splitlines()[-1]
    except FileNotFoundError:
        return "there is no tcpdump"
    except subprocess.TimeoutExpired:
        return None  # it captures, and finds nothing


reason = may_capture()
if reason is not None:
    print(f"capture: skipped: {reason}")
    sys.exit(0)
play()
