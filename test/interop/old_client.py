# SPDX-License-Identifier: Apache-2.0
"""An old client (Python websockets) at our server, and our messages to it.

WIRE facts: PROTOCOL.md, "Older WebSocket peers" and "The envelope".
"""
import json
import sys
import uuid

sys.path.insert(0, sys.path[0] + "/players")
import websockets
from harness import Node, case, check, play, token, within
from websocket import OLD_CLIENT_KEYS, OldClient, now

PEER = "old client (Python websockets)"
TO_US = (PEER, "to us", "WebSocket")
TO_IT = (PEER, "from us", "WebSocket")

# Keys beyond the seven that our frames to an old client may carry: the envelope's.
EXTRA_KEYS = {"nonce", "encrypted_payload", "sender_public_key", "jwt_token", "sender_id",
              "recipient_id", "session_id", "sequence_num", "version", "msg_type",
              "redelivered"}
GREETING = ('< {"type":"status","payload":{"event":"connected","entity_id":"node",'
            '"session_id":…,"protocol_version":"1.1","capabilities":[…],'
            '"timestamp":…},"timestamp":"<iso>","message_id":"<id…>"}')


def extras(frame):
    return set(frame) - set(OLD_CLIENT_KEYS) - EXTRA_KEYS


async def next_of(client, kind):
    while True:
        frame = await client.get()
        if frame["type"] == kind:
            return frame


@case(*TO_US)
async def greeted_then_ready_then_acknowledged():
    async with Node() as node, OldClient(node, "old-1") as client:
        await client.ready()
        await client.say("MESSAGE", {"text": "hi"})
        await next_of(client, "ACK")
        message = await node.message()
        check("sender", message["sender"], "old-1")
        check("payload", message["payload"], {"text": "hi"})
        client.transcript.lines.remove(
            next(line for line in client.transcript.lines if '"HELLO"' in line))
        client.transcript.compare(f"""
            {GREETING}
            < {{"message_id":"<id…>","type":"READY","from_entity":"node","to_entity":"old-1","timestamp":<time>,"payload":{{…}},"signature":null}}
            > {{"message_id": "<id4>", "type": "MESSAGE", "from_entity": "old-1", "to_entity": "node", "timestamp": <time>, "payload": {{"text": "hi"}}, "signature": null}}
            < {{"message_id":"<id…>","type":"ACK","from_entity":"node","to_entity":"old-1","timestamp":<time>,"payload":{{"ack_message_id":"<id4>"…}},"signature":null}}
            """)


@case(*TO_US)
async def replies_carry_the_seven_keys_and_no_unknown_one():
    async with Node() as node, OldClient(node, "old-1") as client:
        ready = await client.ready()
        await client.say("MESSAGE", {})
        ack = await next_of(client, "ACK")
        await client.say("HEARTBEAT", {"type": "ping", "timestamp": now()})
        pong = await next_of(client, "HEARTBEAT")
        for frame in (ready, ack, pong):
            client.known(frame)
            check(f"unknown keys of {frame['type']}", extras(frame), set())


@case(*TO_US)
async def several_in_a_row_are_acknowledged_in_order():
    async with Node() as node, OldClient(node, "old-1") as client:
        await client.ready()
        ids = [await client.say("MESSAGE", {"n": n}) for n in range(20)]
        acks = [(await next_of(client, "ACK"))["payload"]["ack_message_id"] for _ in ids]
        check("acknowledged", acks, ids)
        seen = [(await node.message())["payload"]["n"] for _ in ids]
        check("handled in order", seen, list(range(20)))


@case(*TO_US)
async def heartbeat_draws_a_pong_and_a_pong_draws_nothing():
    async with Node() as node, OldClient(node, "old-1") as client:
        await client.ready()
        await client.say("HEARTBEAT", {"type": "ping", "timestamp": now()})
        pong = await client.get()
        check("answer", (pong["type"], pong["payload"]["type"]), ("HEARTBEAT", "pong"))
        for _ in range(3):  # it answers the pong, as it answers every heartbeat
            await client.say("HEARTBEAT", {"type": "pong", "timestamp": now()})
        await client.say("MESSAGE", {})
        check("the next frame", (await client.get())["type"], "ACK")


@case(*TO_US)
async def repeated_message_is_acknowledged_again():
    async with Node() as node, OldClient(node, "old-1") as client:
        await client.ready()
        frame = json.dumps(client.frame("MESSAGE", {"n": 1}))
        for _ in range(2):
            await client.put(frame)
            ack = await next_of(client, "ACK")
            check("acknowledged", ack["payload"]["ack_message_id"],
                  json.loads(frame)["message_id"])


@case(*TO_US)
async def bye_and_close():
    async with Node() as node, OldClient(node, "old-1") as client:
        await client.ready()
        await client.say("BYE", {"reason": "done"})
        await within(client.ws.close(1000))
        check("our close code", client.ws.close_code, 1000)


@case(*TO_US)
async def compression_is_declined():
    async with Node() as node, OldClient(node, "old-1") as client:
        check("offered", "permessage-deflate" in
              client.ws.request_headers["Sec-WebSocket-Extensions"], True)
        check("answered", client.ws.response_headers.get("Sec-WebSocket-Extensions"), None)


@case(*TO_US)
async def newer_connection_replaces_the_older():
    async with Node() as node, OldClient(node, "old-1") as first:
        await first.ready()
        async with OldClient(node, "old-1") as second:
            await second.ready()
            check("close of the older", await first.closed(),
                  (1008, "New connection established"))
            await second.say("MESSAGE", {})
            await next_of(second, "ACK")


@case(*TO_US)
async def another_entity_replaces_nobody():
    async with Node() as node, OldClient(node, "a") as a, OldClient(node, "b") as b:
        await a.ready()
        await b.ready()
        for client in (a, b):
            await client.say("MESSAGE", {})
            await next_of(client, "ACK")


@case(*TO_US)
async def a_signature_is_taken_where_none_is_required():
    async with Node() as node, OldClient(node, "old-1") as client:
        await client.ready()
        await client.say("MESSAGE", {}, signature="ab" * 64)
        await next_of(client, "ACK")


@case(*TO_US)
async def garbage_draws_an_error_and_the_connection_lives():
    async with Node() as node, OldClient(node, "old-1") as client:
        await client.ready()
        for text in ("{", '{"a":1,"a":2}', "[1]", '"x"', '{"type":"MESSAGE"} x'):
            await within(client.ws.send(text))
            frame = await client.get()
            check(f"type of the answer to {text}", frame["type"].lower(), "error")
        await client.say("MESSAGE", {})
        await next_of(client, "ACK")


@case(*TO_US)
async def a_refused_message_draws_no_acknowledgement():
    async with Node() as node, OldClient(node, "old-1") as client:
        await client.ready()
        await node.command("refuse MESSAGE not today")
        refused = await client.say("MESSAGE", {"n": 1})
        frame = await client.get()
        check("answer", (frame["type"].lower(), "not today" in json.dumps(frame)),
              ("error", True))
        check("acknowledged", "ack_message_id" in frame["payload"]
              and frame["payload"]["ack_message_id"] == refused, False)


SECRET = "s" * 32


def asks_for_tokens(**more):
    return Node(security={"jwt_secret": SECRET, **more})


async def refused(node, **how):
    try:
        async with OldClient(node, "old-1", **how):
            check("connected", True, False)
    except websockets.InvalidStatusCode as error:
        check("code", error.status_code, 403)


async def welcome(node, **how):
    async with OldClient(node, "old-1", **how) as client:
        await client.ready()
        await client.say("MESSAGE", {})
        await next_of(client, "ACK")


def bearer(text):
    return {"headers": {"Authorization": f"Bearer {text}"}}


@case(*TO_US)
async def without_a_good_token_the_upgrade_is_403():
    async with asks_for_tokens() as node:
        await refused(node)
        await refused(node, **bearer("a.b.c"))
        await refused(node, **bearer(token(SECRET, -3600)))
        await refused(node, **bearer(token("another secret of this length...")))
        await refused(node, query="?token=" + token(SECRET))  # not where it is configured to be


@case(*TO_US)
async def a_token_in_the_header_is_taken():
    async with asks_for_tokens() as node:
        await welcome(node, **bearer(token(SECRET)))


@case(*TO_US)
async def a_token_in_the_query_is_taken_where_configured():
    async with asks_for_tokens(token_in_query=True) as node:
        await welcome(node, query="?token=" + token(SECRET))
        await refused(node, query="?token=" + token(SECRET, -3600))


@case(*TO_US)
async def a_stopping_node_says_1001():
    node = Node()
    async with node, OldClient(node, "old-1") as client:
        await client.ready()
        node.process.stdin.close()
        check("close", await client.closed(), (1001, "Server shutting down"))


# ---- us to it, over the connection it opened ----

def node_with_old_peer(**settings):
    return Node([{"id": "old-1"}], **settings)


@case(*TO_IT)
async def our_message_and_its_acknowledgement():
    async with node_with_old_peer() as node, OldClient(node, "old-1") as client:
        await client.ready()
        client.transcript.lines.clear()
        await node.send("old-1", "note", {"text": "hi"})
        await client.handle()
        check("result", await node.outcome("note"), ("delivered", "websocket", 1))
        client.transcript.compare("""
            < {"payload":{"text":"hi"},"timestamp":<time>,"nonce":"<nonce1>","signature":null,"encrypted_payload":null,"sender_public_key":null,"jwt_token":null,"sender_id":"node","recipient_id":"old-1","session_id":"<session…>","sequence_num":1,"version":"1.0","msg_type":"note","message_id":"<id4>","type":"MESSAGE","from_entity":"node","to_entity":"old-1"}
            > {"message_id": "<id5>", "type": "ACK", …, "payload": {"ack_message_id": "<id4>"}, "signature": null}
            """)


@case(*TO_IT)
async def our_messages_carry_no_unknown_key():
    async with node_with_old_peer() as node, OldClient(node, "old-1") as client:
        await client.ready()
        await node.send("old-1", "note", {})
        while (frame := await client.get())["type"] != "MESSAGE":
            pass
        check("unknown keys", extras(frame), set())


@case(*TO_IT)
async def many_arrive_in_order_with_numbers_without_gaps():
    async with node_with_old_peer() as node, OldClient(node, "old-1") as client:
        await client.ready()
        for n in range(30):
            await node.send("old-1", f"note.{n}", {"n": n})
        numbers = []
        while len(numbers) < 30:
            frame = await client.get()
            if frame["type"] == "MESSAGE":
                numbers.append((int(frame["sequence_num"]), frame["payload"]["n"]))
                await client.say("ACK", {"ack_message_id": frame["message_id"]})
        check("order", numbers, [(n + 1, n) for n in range(30)])
        for n in range(30):
            check("result", (await node.result(f"note.{n}"))["outcome"], "delivered")


@case(*TO_IT)
async def silence_means_sent_and_nothing_is_resent():
    settings = {"transport": {"websocket": {"ack_timeout_ms": 100}}}
    async with node_with_old_peer(**settings) as node, OldClient(node, "old-1") as client:
        await client.ready()
        await node.send("old-1", "first", {})
        await client.handle(acknowledge=False)
        check("result", await node.outcome("first"), ("sent", "websocket", 1))
        await node.send("old-1", "second", {})
        frame = await client.get()
        while frame["type"] != "MESSAGE":
            frame = await client.get()
        check("the next frame", frame["msg_type"], "second")
        await client.say("ACK", {"ack_message_id": frame["message_id"]})
        check("result", await node.outcome("second"), ("delivered", "websocket", 1))


@case(*TO_IT)
async def unacknowledged_is_sent_again_when_it_comes_back():
    async with node_with_old_peer() as node:
        async with OldClient(node, "old-1") as client:
            await client.ready()
            await node.send("old-1", "note", {"n": 1})
            first = await client.handle(acknowledge=False)
        async with OldClient(node, "old-1") as client:
            again = await client.handle()
            check("the same id", again["message_id"], first["message_id"])
            check("payload", again["payload"], {"n": 1})
        result = await node.result("note")
        check("result", (result["outcome"], result["maybe_duplicate"]), ("delivered", True))


@case(*TO_IT)
async def waits_for_it_to_connect():
    async with node_with_old_peer() as node:
        await node.send("old-1", "early", {"n": 1})
        async with OldClient(node, "old-1") as client:
            check("payload", (await client.handle())["payload"], {"n": 1})
            check("result", await node.outcome("early"), ("delivered", "websocket", 1))


@case(*TO_IT)
async def an_unknown_acknowledgement_acknowledges_nothing():
    async with node_with_old_peer() as node, OldClient(node, "old-1") as client:
        await client.ready()
        await node.send("old-1", "note", {})
        message = await client.handle(acknowledge=False)
        await client.say("ACK", {"ack_message_id": str(uuid.uuid4())})
        await client.say("HEARTBEAT", {"type": "ping", "timestamp": now()})
        await next_of(client, "HEARTBEAT")
        check("pending", (await node.stats())["pending"], 1)
        await client.say("ACK", {"ack_message_id": message["message_id"]})
        check("result", await node.outcome("note"), ("delivered", "websocket", 1))


@case(*TO_IT)
async def both_directions_at_once():
    async with node_with_old_peer() as node, OldClient(node, "old-1") as client:
        await client.ready()
        for n in range(10):
            await node.send("old-1", f"note.{n}", {"n": n})
            await client.say("MESSAGE", {"n": n})
        kinds = {"ACK": 0, "MESSAGE": 0}
        while kinds != {"ACK": 10, "MESSAGE": 10}:
            frame = await client.get()
            kinds[frame["type"]] += 1
            if frame["type"] == "MESSAGE":
                await client.say("ACK", {"ack_message_id": frame["message_id"]})
        for n in range(10):
            check("result", (await node.result(f"note.{n}"))["outcome"], "delivered")


play()
