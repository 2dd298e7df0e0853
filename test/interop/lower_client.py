# SPDX-License-Identifier: Apache-2.0
"""A client that takes us for the old manager: lower-case types (Python websockets).

WIRE facts: PROTOCOL.md, "Older WebSocket peers": as a server we play the manager.
"""
import json
import sys
import uuid

sys.path.insert(0, sys.path[0] + "/players")
from harness import Node, case, check, play, within
from websocket import LowerClient

ROW = ("lower-case client (Python websockets)", "to us", "WebSocket")
TO_IT = ("lower-case client (Python websockets)", "from us", "WebSocket")

# What a parley says of itself in its greeting, beyond what the manager said.
GREETING_EXTRA_KEYS = {"max_message_bytes", "max_batch_bytes", "max_in_flight",
                       "peer_session_id", "last_seq", "rejected"}


def client_of(node, entity="lower-1"):
    return LowerClient(node, entity, f"?entity_id={entity}&session_id={uuid.uuid4()}")


async def greeted(client):
    frame = await client.get()
    check("the first frame", (frame["type"], frame["payload"]["event"]), ("status", "connected"))
    return frame


@case(*ROW)
async def the_greeting_is_the_managers():
    async with Node() as node, client_of(node) as client:
        frame = await greeted(client)
        check("keys", list(frame)[:4], ["type", "payload", "timestamp", "message_id"])
        check("keys of the payload", list(frame["payload"])[:6],
              ["event", "entity_id", "session_id", "protocol_version", "capabilities",
               "timestamp"])
        check("unknown keys", set(list(frame["payload"])[6:]) - GREETING_EXTRA_KEYS, set())
        check("version", frame["payload"]["protocol_version"], "1.1")
        check("entity", frame["payload"]["entity_id"], "node")
        check("time", isinstance(frame["timestamp"], str), True)


@case(*ROW)
async def ping_draws_pong_with_its_seq():
    async with Node() as node, client_of(node) as client:
        await greeted(client)
        for seq in (1, 7, 4000000000):
            await client.say("ping", {}, seq=seq)
            frame = await client.get()
            check("answer", (frame["type"], frame.get("seq", frame["payload"].get("seq"))),
                  ("pong", seq))


@case(*ROW)
async def ping_without_seq_draws_pong():
    async with Node() as node, client_of(node) as client:
        await greeted(client)
        await client.say("ping")
        check("answer", (await client.get())["type"], "pong")


@case(*ROW)
async def pong_draws_nothing():
    async with Node() as node, client_of(node) as client:
        await greeted(client)
        for seq in range(3):
            await client.say("pong", {}, seq=seq)
        await client.say("ping", {}, seq=9)
        frame = await client.get()
        check("the next frame", frame["type"], "pong")


@case(*ROW)
async def capability_exchange_is_acknowledged():
    async with Node() as node, client_of(node) as client:
        await greeted(client)
        await client.say("capability_exchange", {"capabilities": ["messaging"]}, seq=1)
        frame = await client.get()
        check("type", frame["type"], "capability_exchange")
        check("acknowledged", frame["payload"].get("acknowledged"), True)


@case(*ROW)
async def status_draws_status():
    async with Node() as node, client_of(node) as client:
        await greeted(client)
        await client.say("status", {"event": "busy"}, seq=1)
        frame = await client.get()
        check("type", frame["type"], "status")


@case(*ROW)
async def a_message_draws_message_received():
    async with Node() as node, client_of(node) as client:
        await greeted(client)
        await client.say("task_delegate", {"n": 1}, seq=5)
        frame = await client.get()
        check("type", frame["type"], "status")
        check("payload", {key: frame["payload"].get(key)
                          for key in ("event", "original_type", "seq")},
              {"event": "message_received", "original_type": "task_delegate", "seq": 5})
        message = await node.message()
        check("message", (message["sender"], message["type"], message["payload"]),
              ("lower-1", "task_delegate", {"n": 1}))


@case(*ROW)
async def messages_are_handled_in_order():
    async with Node() as node, client_of(node) as client:
        await greeted(client)
        for n in range(20):
            await client.say("note", {"n": n}, seq=n + 1)
        check("acknowledged", [(await client.get())["payload"]["seq"] for _ in range(20)],
              list(range(1, 21)))
        check("handled", [(await node.message())["payload"]["n"] for _ in range(20)],
              list(range(20)))


@case(*ROW)
async def a_refused_message_draws_handler_error():
    async with Node() as node, client_of(node) as client:
        await greeted(client)
        await node.command("refuse note not today")
        await client.say("note", {}, seq=1)
        frame = await client.get()
        check("answer", (frame["type"], frame["payload"]["error"]),
              ("error", "Handler error: not today"))


@case(*ROW)
async def not_json_is_told_in_the_managers_words():
    async with Node() as node, client_of(node) as client:
        await greeted(client)
        for text in ("{", "nonsense", '{"type":"ping",}'):
            await within(client.ws.send(text))
            frame = await client.get()
            check("answer", (frame["type"], frame["payload"]["error"]),
                  ("error", "Invalid JSON format"))
        await client.say("ping", {}, seq=1)
        check("the connection lives", (await client.get())["type"], "pong")


@case(*ROW)
async def newer_connection_replaces_the_older():
    async with Node() as node, client_of(node) as first:
        await greeted(first)
        await first.say("ping", {}, seq=1)
        await first.get()
        async with client_of(node) as second:
            await greeted(second)
            await second.say("ping", {}, seq=1)
            check("the newer lives", (await second.get())["type"], "pong")
            check("close of the older", await first.closed(),
                  (1008, "New connection established"))


@case(*ROW)
async def an_envelope_in_a_frame_is_taken():
    async with Node() as node, client_of(node) as client:
        await greeted(client)
        await client.put(json.dumps({
            "payload": {"n": 1}, "timestamp": 1700000000.5, "nonce": "AAECAwQFBgcICQoLDA0ODw==",
            "signature": None, "encrypted_payload": None, "sender_public_key": None,
            "jwt_token": None, "sender_id": "lower-1", "recipient_id": "node",
            "session_id": str(uuid.uuid4()), "sequence_num": 1, "version": "1.0",
            "msg_type": "note", "message_id": str(uuid.uuid4()), "type": "peer_message",
            "seq": 1}))
        frame = await client.get()
        check("answer", (frame["type"], frame["payload"]["event"], frame["payload"]["seq"],
                         frame["payload"]["original_type"]),
              ("status", "message_received", 1, "peer_message"))
        check("type of the message", (await node.message())["type"], "note")


@case(*ROW)
async def a_stopping_node_says_1001():
    async with Node() as node, client_of(node) as client:
        await greeted(client)
        await client.say("ping", {}, seq=1)
        await client.get()
        node.process.stdin.close()
        check("close", await client.closed(), (1001, "Server shutting down"))


@case(*ROW)
async def no_unasked_frame_follows_the_greeting():
    async with Node() as node, client_of(node) as client:
        await greeted(client)
        kinds = []
        for seq in range(5):
            await client.say("ping", {}, seq=seq)
            kinds.append((await client.get())["type"])
        check("frames", kinds, ["pong"] * 5)


play()
