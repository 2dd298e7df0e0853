# SPDX-License-Identifier: Apache-2.0
"""Old services and parleys of Python's own that sign what they send and check what they get.

WIRE facts: PROTOCOL.md, "Canonical bytes", "HTTP", "Between parleys" (rule 9).
"""
import json
import sys
import tempfile
import uuid

sys.path.insert(0, sys.path[0] + "/players")
import aiohttp
import websockets
from harness import DEADLINE, Failed, Node, case, check, play, within
from http_service import AioService
from signing import Signer, batch, bound, envelope, holds, six

TO_US = ("signing old service (Python)", "to us", "HTTP")
FROM_US = ("verifying old service (Python)", "from us", "HTTP")
PARLEY_HTTP = ("signing parley/1 client (Python)", "to us", "HTTP")
PARLEY_WS = ("signing parley/1 client (Python)", "to us", "WebSocket")
TO_PARLEY = ("verifying parley/1 service (Python)", "from us", "HTTP")

THEM, US, STRANGER = Signer(1), Signer(2), Signer(3)
PAYLOAD = {"text": "h\u00e9llo \u2603 \U0001f600 \x7f", "f": [0.1, 1.0, -0.0, 1e16, 5e-324, 1e-5],
           "i": 123456789012345678901234567890, "b": {"z": 1, "a": [True, None]}}


def strict(**security):
    return Node([{"id": "them", "public_key": THEM.hex}],
                security={"signatures": "required", **security})


async def post(node, body, path="/message"):
    data = body if isinstance(body, str) else json.dumps(body)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE)) as http:
        async with http.post(node.url + path, data=data) as answer:
            return answer.status, await answer.json()


def refused(text):
    return 400, {"detail": text}


# ---- An old service to us ----

@case(*TO_US)
async def a_signed_envelope_is_taken_once():
    async with strict() as node:
        value = envelope(THEM, "them", "node", payload=PAYLOAD)
        expected = (200, {"status": "received", "entity_id": "node", "verification": "passed"})
        check("reply", await post(node, value), expected)
        check("again", await post(node, value), expected)
        check("payload", (await node.message())["payload"], PAYLOAD)
        check("repeats", (await node.stats())["repeats"], 1)


@case(*TO_US)
async def however_it_is_written():
    async with strict() as node:
        value = envelope(THEM, "them", "node", payload=PAYLOAD)
        text = json.dumps(value, ensure_ascii=False, separators=(" ,", " :\t")).replace("1e+16", "10E15")
        check("reply", (await post(node, text))[0], 200)


@case(*TO_US)
async def what_is_wrong_is_refused():
    async with strict() as node:
        value = envelope(THEM, "them", "node")
        check("payload", await post(node, {**value, "payload": {"n": 2}}),
              refused("Invalid signature"))
        check("unsigned", await post(node, {**value, "signature": None}),
              refused("Missing signature"))
        check("another's", await post(node, envelope(STRANGER, "them", "node")),
              refused("Invalid signature"))
        check("a stranger's", await post(node, envelope(STRANGER, "carol", "node")),
              refused("Unknown sender: carol"))
        check("not for us", (await post(node, {**value, "recipient_id": "other"}))[0], 400)
        check("old", await post(node, envelope(THEM, "them", "node", timestamp=1.7e9)),
              refused("Stale timestamp"))


# ---- Us to an old service ----

def identity_file(directory):
    return US.pem(f"{directory}/identity.pem")


@case(*FROM_US)
async def an_old_service_verifies_us():
    with tempfile.TemporaryDirectory() as directory:
        async with AioService() as service:
            async with Node([{"id": "service", "url": service.url, "preference": "http_only"}],
                            security={"identity_file": identity_file(directory)}) as node:
                await node.send("service", "task", PAYLOAD)
                check("outcome", (await node.outcome("task"))[0], "delivered")
                value = service.envelopes[0]
                check("signature", holds(US.hex, six(value), value["signature"]), True)
                check("bound", holds(US.hex, {**six(value), **{
                    key: value[key] for key in ("recipient_id", "session_id", "sequence_num",
                                                "message_id")}, "base_seq": 0},
                                     value["parley_signature"]), True)


@case(*FROM_US)
async def off_signs_nothing():
    with tempfile.TemporaryDirectory() as directory:
        async with AioService() as service:
            async with Node([{"id": "service", "url": service.url, "preference": "http_only",
                              "signatures": "off"}],
                            security={"identity_file": identity_file(directory)}) as node:
                await node.send("service", "task", {"n": 1})
                await node.result("task")
                check("signature", service.envelopes[0]["signature"], None)


@case(*FROM_US)
async def a_resend_is_signed_anew():
    with tempfile.TemporaryDirectory() as directory:
        answers = [(503, {"detail": "later"})]

        async def script(_):
            return answers.pop() if answers else (200, {"status": "received"})
        async with AioService(script) as service:
            async with Node([{"id": "service", "url": service.url, "preference": "http_only"}],
                            security={"identity_file": identity_file(directory)}) as node:
                await node.send("service", "task", {"n": 1})
                check("outcome", (await node.outcome("task"))[0], "delivered")
                first, second = service.envelopes
                check("number", first["sequence_num"], second["sequence_num"])
                check("nonce", first["nonce"] != second["nonce"], True)
                check("time", first["timestamp"] < second["timestamp"], True)
                check("signature", holds(US.hex, six(second), second["signature"]), True)


# ---- Parleys ----

@case(*PARLEY_HTTP)
async def batches_over_http():
    async with strict() as node:
        session = str(uuid.uuid4())
        value = batch(THEM, "them", "node", session, 1, [{"n": n} for n in range(3)])
        code, answer = await post(node, value, "/messages")
        check("acknowledged", (code, answer["payload"]["ack_seq"]), (200, 3))
        value = batch(THEM, "them", "node", session, 4, [PAYLOAD, {"n": 5}, {"n": 6}])
        value["messages"][1]["payload"] = {"n": 7}
        code, answer = await post(node, value, "/messages")
        check("as far as it holds", (code, answer["payload"]["ack_seq"]), (200, 4))
        value = batch(THEM, "them", "node", session, 5, [{"n": 5}], base=2)
        check("base_seq", await post(node, {**value, "base_seq": 5}, "/messages"),
              refused("Invalid signature"))
        value["messages"][0]["signature"] = value["messages"][0].pop("parley_signature")
        check("bound to nothing", await post(node, value, "/messages"),
              refused("Missing signature"))


@case(*PARLEY_WS)
async def batches_over_websocket():
    async with strict() as node:
        session = str(uuid.uuid4())
        url = f"{node.ws_url}?entity_id=them&session_id={session}"
        async with websockets.connect(url, compression=None) as socket:
            await within(socket.recv())
            await socket.send(json.dumps(batch(THEM, "them", "node", session, 1, [PAYLOAD])))
            answer = json.loads(await within(socket.recv()))
            check("acknowledged", answer["payload"]["ack_seq"], 1)
            await socket.send(json.dumps(batch(STRANGER, "them", "node", session, 2, [{}])))
            answer = json.loads(await within(socket.recv()))
            check("refused", answer["payload"], {"error": "Invalid signature", "seq": 2})
            try:
                await within(socket.recv())
            except websockets.ConnectionClosed as closed:
                check("closed", closed.code, 4003)
            else:
                raise Failed("it stays open")


class Parley(AioService):
    """A parley that takes batches and believes only what holds."""

    def __init__(self):
        super().__init__()
        self.batches = []

    async def answer(self, request):
        if request.path != "/messages":
            return await super().answer(request)
        value = request.envelope
        self.batches.append(value)
        sender = next(m["sender_id"] for m in value["messages"] if "sender_id" in m)
        for number, message in enumerate(value["messages"], value["first_seq"]):
            covered = bound(message, sender, "service", value["session_id"], number,
                            value["base_seq"])
            if not holds(US.hex, covered, message["parley_signature"]):
                return 400, {"detail": "Invalid signature"}, {"Parley": "1"}
        return 200, {"type": "ACK", "payload": {"session_id": value["session_id"],
                                                "ack_seq": number, "rejected": []}}, {
            "Parley": "1; max_batch_bytes=65536"}


@case(*TO_PARLEY)
async def a_parley_verifies_our_batches():
    with tempfile.TemporaryDirectory() as directory:
        async with Parley() as service:
            async with Node([{"id": "service", "url": service.url, "preference": "http_only",
                              "dialect": "parley"}],
                            security={"identity_file": identity_file(directory)}) as node:
                for n in range(50):
                    await node.send("service", f"task{n}", {**PAYLOAD, "n": n})
                for n in range(50):
                    check("outcome", (await node.outcome(f"task{n}"))[0], "delivered")
                check("messages", sum(len(b["messages"]) for b in service.batches), 50)


play()
