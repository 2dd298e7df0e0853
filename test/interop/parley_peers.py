# SPDX-License-Identifier: Apache-2.0
"""Two parleys, one of which is made to speak the older dialects; and a peer that turns from
old to new on the same port.

WIRE facts: PROTOCOL.md, "Older WebSocket peers", "Between parleys" (rule 1), "HTTP".
"""
import asyncio
import json
import sys

sys.path.insert(0, sys.path[0] + "/players")
from harness import BUILD, Node, case, check, play, within
from http_service import AioService
from websocket import Manager

OLD_SERVER = ("parley without parley/1", "from us", "WebSocket")
OLD_SENDER = ("parley without parley/1", "to us", "WebSocket")
OVER_HTTP = ("parley without parley/1", "from us", "HTTP")
AS_MANAGER = ("parley, dialect manager", "from us", "WebSocket")
AS_SERVICE = ("parley, dialect service", "from us", "HTTP")
TURNED_WS = ("old manager turned parley", "from us", "WebSocket")
TURNED_HTTP = ("old service turned parley", "from us", "HTTP")

NO_PARLEY = {"transport": {"websocket": {"parley_protocol": False}}}


def other(node, **more):
    return {"id": "other", "url": node.url, "preference": "websocket_only", **more}


async def conversation(sender, receiver, transport, count=20):
    """Posts messages and checks that each is handled once, in order, and has its result."""
    for n in range(count):
        await sender.send("other", f"note.{n}", {"n": n})
    for n in range(count):
        result = await sender.result(f"note.{n}")
        check(f"result of {n}", (result["outcome"], result["transport"]),
              ("delivered", transport))
    seen = [await receiver.message() for _ in range(count)]
    check("order", [message["payload"]["n"] for message in seen], list(range(count)))
    check("types", [message["type"] for message in seen],
          [f"note.{n}" for n in range(count)])
    check("senders", {message["sender"] for message in seen}, {"node"})
    check("handled", (await receiver.stats())["handled"], count)


@case(*OLD_SERVER)
async def websocket_to_one_without_parley_1():
    async with Node(node_id="other", **NO_PARLEY) as receiver, \
            Node([other(receiver)]) as sender:
        await conversation(sender, receiver, "websocket")


@case(*OLD_SENDER)
async def websocket_from_one_without_parley_1():
    async with Node(node_id="other") as receiver, \
            Node([other(receiver)], **NO_PARLEY) as sender:
        await conversation(sender, receiver, "websocket")


@case(*OVER_HTTP)
async def http_to_one_without_parley_1():
    async with Node(node_id="other", **NO_PARLEY) as receiver, \
            Node([other(receiver, preference="http_only")]) as sender:
        await conversation(sender, receiver, "http")


@case(*AS_MANAGER)
async def dialect_manager_between_parleys():
    async with Node(node_id="other") as receiver, \
            Node([other(receiver, dialect="manager")]) as sender:
        await conversation(sender, receiver, "websocket")


@case(*AS_MANAGER)
async def a_refusing_handler_refuses_that_message_only():
    async with Node(node_id="other") as receiver, \
            Node([other(receiver, dialect="manager")]) as sender:
        await receiver.command("refuse bad not today")
        for kind in ("a", "bad", "b"):
            await sender.send("other", kind, {})
        result = await sender.result("bad")
        check("result", (result["outcome"], "not today" in result["detail"]),
              ("rejected", True))
        for kind in ("a", "b"):
            check(kind, (await sender.result(kind))["outcome"], "delivered")


@case(*AS_SERVICE)
async def dialect_service_between_parleys():
    async with Node(node_id="other") as receiver, \
            Node([other(receiver, dialect="service", preference="websocket_first")]) as sender:
        await conversation(sender, receiver, "http")
        check("WebSockets", (await receiver.stats())["ws_connections_accepted"], 0)


@case(*AS_SERVICE)
async def version_0_3_between_parleys():
    peer = {"dialect": "service", "envelope_version": "0.3", "preference": "http_only"}
    async with Node(node_id="other") as receiver, Node([other(receiver, **peer)]) as sender:
        await conversation(sender, receiver, "http")


@case(*TURNED_WS)
async def an_old_manager_turned_parley_is_upgraded_on_the_next_connection():
    manager = Manager(entity="other")
    await manager.__aenter__()
    async with Node([other(manager)]) as sender:
        await sender.send("other", "old", {"n": 0})
        connection = await manager.connection()
        check("an envelope", (await connection.handle())["type"], "peer_message")
        check("result", await sender.outcome("old"), ("delivered", "websocket", 1))
        await connection.close(1001, "Server shutting down")
        await manager.__aexit__()
        async with Node(node_id="other", node={"listen_port": manager.port}) as receiver:
            await sender.event("state", state="open")
            await sender.event("state", state="open")
            await conversation(sender, receiver, "websocket")
            session = (await receiver.stats())["inbound_sessions"]
            check("sessions of parley/1", session >= 1, True)
            await old_no_more(sender, receiver)


async def old_no_more(sender, receiver):
    """In parley/1 an acknowledgement is cumulative: far less leaves than an envelope each."""
    before = (await sender.stats())["wire_bytes_out"]
    for n in range(100):
        await sender.send("other", f"again.{n}", {})
    for n in range(100):
        await sender.result(f"again.{n}")
    each = ((await sender.stats())["wire_bytes_out"] - before) / 100
    check(f"{each} bytes a message are less than an envelope", each < 300, True)


@case(*TURNED_HTTP)
async def an_old_service_turned_parley_is_upgraded():
    async with AioService() as service:
        port = service.port
        peer = {"id": "other", "url": service.url, "preference": "http_only"}
        sender = Node([peer])
        await sender.__aenter__()
        await sender.send("other", "old", {"n": 0})
        check("result", await sender.outcome("old"), ("delivered", "http", 1))
        check("posts", len(service.requests), 1)
    async with sender, Node(node_id="other", node={"listen_port": port}) as receiver:
        await conversation(sender, receiver, "http")
        await old_no_more(sender, receiver)


@case(*TURNED_WS)
async def a_parley_turned_old_manager_is_still_spoken_to():
    async with Node(node_id="other") as receiver, Node([other(receiver)]) as sender:
        port = receiver.port
        await conversation(sender, receiver, "websocket", 3)
        receiver.process.stdin.close()
        await within(receiver.process.wait())
        async with Manager(entity="other", port=port) as manager:
            await sender.send("other", "late", {"n": 1})
            frame = await (await manager.connection()).handle()
            check("an envelope", (frame["type"], frame["msg_type"]), ("peer_message", "late"))
            check("result", (await sender.result("late"))["outcome"], "delivered")


@case("parley serve", "both", "WebSocket")
async def the_commands_speak_to_each_other_in_the_old_dialect():
    server = await asyncio.create_subprocess_exec(
        f"{BUILD}/parley", "serve", "--json", "--listen", "127.0.0.1:0", "--set",
        "transport.websocket.parley_protocol=false", stdout=asyncio.subprocess.PIPE)
    try:
        port = json.loads(await within(server.stdout.readline()))["port"]
        sender = await asyncio.create_subprocess_exec(
            f"{BUILD}/parley", "send", "--json", "--url", f"http://127.0.0.1:{port}",
            "--type", "note", "--transport", "ws", "--ttl-ms", "10000", '{"n":1}', '{"n":2}',
            stdout=asyncio.subprocess.PIPE)
        out, _ = await within(sender.communicate())
    finally:
        server.terminate()
        code = await within(server.wait())
    check("exit codes", (sender.returncode, code), (0, 0))
    check("results", [json.loads(line)["outcome"] for line in out.splitlines()],
          ["delivered", "delivered"])


play()
