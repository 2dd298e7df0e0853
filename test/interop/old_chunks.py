# SPDX-License-Identifier: Apache-2.0
"""We send long messages to old receivers, of both kinds.

WIRE facts: PROTOCOL.md, "Chunks". One kind goes by `message_id` and decodes each piece by
itself; the other by `chunk_id` and an outer `original_msg_type`, strings the base64 texts
together and decodes once. Both take a message whole, too, if it is short. OLD_KIB (256)
says how long the file is, OLD_SPEED (60) how fast a receiver's clock goes that limits us.
"""
import asyncio
import base64
import hashlib
import json
import os
import sys
import tempfile
import time

sys.path.insert(0, sys.path[0] + "/players")
from harness import BUILD, Node, case, check, play
from http_service import AioService, RECEIVED

BY_PIECE = ("old receiver, piece by piece", "from us", "HTTP")
JOINING = ("old receiver, joining first", "from us", "HTTP")
THRESHOLD = 8192
SIZE = int(os.environ.get("OLD_KIB", "256")) << 10
SPEED = float(os.environ.get("OLD_SPEED", "60"))


class Receiver:
    """The script of a service that reassembles; `whole` holds (type, payload)."""

    def __init__(self, joining, refuse_at=None):
        self.joining, self.refuse_at = joining, refuse_at
        self.parts, self.whole, self.chunks = {}, [], 0

    async def __call__(self, request):
        envelope = request.envelope
        if envelope["msg_type"] != "chunk":
            self.whole.append((envelope["msg_type"], envelope["payload"]))
            return RECEIVED
        chunk = envelope["payload"]
        self.chunks += 1
        if len(chunk["data"]) > THRESHOLD or self.refuse_at == chunk["chunk_index"]:
            return 400, {"detail": "Handler error: full"}
        key = chunk["chunk_id" if self.joining else "message_id"]
        parts = self.parts.setdefault(key, {})
        parts[chunk["chunk_index"]] = chunk["data"]
        if len(parts) == chunk["total_chunks"]:
            texts = [parts[index] for index in range(chunk["total_chunks"])]
            if self.joining:
                text = base64.b64decode("".join(texts), validate=True)
            else:
                text = b"".join(base64.b64decode(piece, validate=True) for piece in texts)
            inner = json.loads(text)
            if self.joining:
                check("outer type", chunk["original_msg_type"], inner["original_msg_type"])
            self.whole.append((inner["original_msg_type"], inner["data"]))
            del self.parts[key]
        return RECEIVED


def peer(service, **more):
    return {"id": "service", "url": service.url, "preference": "http_only", "pace": False,
            **more}


def both(function):
    for row, joining in ((BY_PIECE, False), (JOINING, True)):
        def bound(joining=joining):
            return function(joining)
        bound.__name__ = f"{function.__name__}_{'joining' if joining else 'by_piece'}"
        case(*row)(bound)
    return function


def long_payload(size):
    text = "".join(hashlib.sha256(str(n).encode()).hexdigest() for n in range(size // 64))
    return {"text": text, "é": "ü\U0001f600"}


@both
async def a_quarter_of_a_mebibyte_arrives(joining):
    receiver, payload = Receiver(joining), long_payload(256 << 10)
    async with AioService(receiver) as service, Node([peer(service)]) as node:
        await node.send("service", "report", payload)
        await node.send("service", "note", {"n": 1})
        check("result", (await node.result("report"))["outcome"], "delivered")
        check("note", (await node.result("note"))["outcome"], "delivered")
        check("whole", dict(receiver.whole), {"report": payload, "note": {"n": 1}})
        check("chunks", receiver.chunks > 256 * 1024 // 6144, True)
        numbers = [envelope["sequence_num"] for envelope in service.envelopes]
        check("numbers", numbers, list(range(1, len(numbers) + 1)))


@both
async def a_file_arrives(joining):
    receiver, payload = Receiver(joining), long_payload(SIZE)
    async with AioService(receiver) as service:
        with tempfile.NamedTemporaryFile("w") as file:
            json.dump(payload, file)
            file.flush()
            process = await asyncio.create_subprocess_exec(
                f"{BUILD}/parley", "send", "--url", service.url, "--type", "file", "--file",
                file.name, "--transport", "http", "--no-pace", stdout=asyncio.subprocess.PIPE)
            out, _ = await process.communicate()
        check(f"exit code ({out.decode()})", process.returncode, 0)
        check("whole", receiver.whole == [("file", payload)], True)


@both
async def only_what_is_longer_is_cut(joining):
    receiver = Receiver(joining)
    async with AioService(receiver) as service, Node([peer(service)]) as node:
        for size in (THRESHOLD, THRESHOLD + 1):
            payload = {"x": "y" * (size - 8)}
            await node.send("service", f"size.{size}", payload)
            check("result", (await node.result(f"size.{size}"))["outcome"], "delivered")
            check("whole", receiver.whole[-1], (f"size.{size}", payload))
            check("chunks", receiver.chunks, 0 if size == THRESHOLD else 2)


@both
async def a_refused_chunk_ends_it(joining):
    receiver = Receiver(joining, refuse_at=2)
    async with AioService(receiver) as service, Node([peer(service)]) as node:
        await node.send("service", "report", long_payload(100000))
        result = await node.result("report")
        check("result", (result["outcome"], result["detail"]),
              ("rejected", "Handler error: full"))
        await node.send("service", "note", {})
        check("note", (await node.result("note"))["outcome"], "delivered")
        check("chunks", receiver.chunks, 3)


class Limits:
    """The old service's limits, at `speed` times its own: a burst, so many a second, and
    whoever goes beyond is blocked."""

    def __init__(self, receiver, speed, burst=10):
        self.receiver, self.speed, self.burst = receiver, speed, burst
        self.tokens, self.at = float(burst), time.monotonic()
        self.times, self.blocked = [], 0

    async def __call__(self, request):
        now = time.monotonic()
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.speed)
        self.at = now
        minute = [t for t in self.times if now - t < 60 / self.speed]
        if self.blocked or self.tokens < 1 or len(minute) >= 60:
            self.blocked += 1  # 300 s of its time: longer than any transfer here
            return 400, {"detail": "rate_limited"}
        self.tokens -= 1
        self.times = minute + [now]
        return await self.receiver(request)


@both
async def its_limits_are_kept(joining):
    """Beyond the burst each chunk takes 4 s of its time, 132 s in all."""
    receiver, payload = Receiver(joining), long_payload(256 << 10)
    limits = Limits(receiver, SPEED)
    async with AioService(limits) as service:
        paced = peer(service, pace=True, rate_per_min=int(15 * SPEED))
        async with Node([paced], transport={"ttl_ms": 600000}) as node:
            began = time.monotonic()
            await node.send("service", "report", payload)
            check("result", (await node.result("report"))["outcome"], "delivered")
            check("whole", receiver.whole, [("report", payload)])
            check("times it was too much", limits.blocked, 0)
            check("paced", time.monotonic() - began > (receiver.chunks - 11) * 4 / SPEED, True)


play()
