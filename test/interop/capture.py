# SPDX-License-Identifier: Apache-2.0
"""What somebody sees who reads along: captures on loopback, a random marker in each message.

Plain messages show theirs. Sealed ones, without TLS, do not; neither do payloads encrypted for
an older peer, which is played in Python and decrypts them. tcpdump writes what it sees to a
pipe; streams are put together, and WebSocket frames unmasked, before anybody searches them. A
capture is complete when a request sent last has appeared in it.

Does nothing, and says so, where tcpdump is missing or may not capture.
"""
import asyncio
import base64
import hashlib
import secrets
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, sys.path[0] + "/players")
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from harness import Node, case, check, play, within
from http_service import AioService
from signing import Signer

MESSAGES = 25
TCPDUMP = ["tcpdump", "-i", "lo", "-n", "-B", "16384", "-U", "-w", "-"]
US, THEM = Signer(1), Signer(2)


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
    """Everything from and to one port."""

    def __init__(self, port):
        self.port, self.pcap = port, b""

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            *TCPDUMP, "tcp", "port", str(self.port), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
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
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
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


async def look(name, port, send, expected):
    """Captures what `send` sends; `expected` says how many markers can be read."""
    markers = [secrets.token_hex(16) for _ in range(MESSAGES)]
    async with Capture(port) as capture:
        await send(markers)
        await capture.end()
        found = capture.count(markers)
        print(f"capture: {name:44} {MESSAGES} messages, {len(capture.pcap):6} bytes: "
              f"{found} markers found")
        check("markers found", found, expected)


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
                await look(name, receiver.port, send, expected)


for way, kind in (("http_only", "HTTP"), ("websocket_only", "WebSocket")):
    @case("tcpdump (reads along)", "plain", kind)
    async def plain(way=way, kind=kind):
        await between_parleys(f"plain, {kind}", way, MESSAGES)

    @case("tcpdump (reads along)", "sealed", kind)
    async def sealed(way=way, kind=kind):
        await between_parleys(f"sealed, without TLS, {kind}", way, 0, security_min="sealed")


# ---- To an older peer ----

def x25519_shared(seed, peer_hex):
    prime = 2**255 - 19
    y = int.from_bytes(bytes.fromhex(peer_hex), "little") & (2**255 - 1)
    u = (1 + y) * pow(1 - y, prime - 2, prime) % prime
    private = X25519PrivateKey.from_private_bytes(hashlib.sha512(bytes([seed]) * 32).digest()[:32])
    return private.exchange(X25519PublicKey.from_public_bytes(u.to_bytes(32, "little")))


def decrypted(payload):
    """What an older peer with the second identity makes of it."""
    box = payload["_encrypted_payload"]
    key = HKDF(hashes.SHA256(), 32, None, b"e2e-encryption-key").derive(x25519_shared(2, US.hex))
    return AESGCM(key).decrypt(base64.b64decode(box["nonce"]),
                               base64.b64decode(box["ciphertext"]), None).decode()


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
                    for envelope, marker in zip(service.envelopes, markers, strict=True):
                        check("payload", decrypted(envelope["payload"]), f'{{"marker":"{marker}"}}')
                await look("old peer, payload encrypted by identities", service.port, send, 0)


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
                await look("old peer that makes no session", service.port, send, 0)


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
