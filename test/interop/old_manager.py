# SPDX-License-Identifier: Apache-2.0
"""We connect to an old manager (Python websockets, with the HTTP beside it).

WIRE facts: PROTOCOL.md, "Older WebSocket peers", "The envelope", "Choosing a transport".
"""
import asyncio
import json
import sys
import time
import urllib.parse

sys.path.insert(0, sys.path[0] + "/players")
from harness import BUILD, DEADLINE, Node, case, check, play, within
from http_service import AioService
from websocket import Manager, iso

PEER = "old manager (Python websockets)"
TO_IT = (PEER, "from us", "WebSocket")
TO_US = (PEER, "to us", "WebSocket")
TO_HTTP = ("old manager and service (Python)", "from us", "both")

ENVELOPE_KEYS = ["payload", "timestamp", "nonce", "signature", "encrypted_payload",
                 "sender_public_key", "jwt_token", "sender_id", "recipient_id", "session_id",
                 "sequence_num", "version", "msg_type", "message_id", "type"]
EXTRA_KEYS = {"seq", "redelivered"}


def ws_only(manager, **more):
    return {"id": "manager", "url": manager.url, "preference": "websocket_only", **more}


@case(*TO_IT)
async def message_received_is_the_acknowledgement():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        await node.send("manager", "task_delegate", {"n": 1})
        connection = await manager.connection()
        connection.transcript.lines.clear()
        await connection.handle()
        check("result", await node.outcome("task_delegate"), ("delivered", "websocket", 1))
        connection.transcript.compare("""
            < {"payload":{"n":1},"timestamp":<time>,"nonce":"<nonce1>","signature":null,"encrypted_payload":null,"sender_public_key":null,"jwt_token":null,"sender_id":"node","recipient_id":"manager","session_id":"<session2>","sequence_num":1,"version":"1.0","msg_type":"task_delegate","message_id":"<id2>","type":"peer_message","seq":…}
            > {"type": "status", "payload": {"event": "message_received", "original_type": "peer_message", "seq": …}, …}
            """)


@case(*TO_IT)
async def not_one_key_it_does_not_know_breaks_it():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        await node.send("manager", "note", {})
        frame = await (await manager.connection()).handle()
        check("keys in order", [key for key in frame if key not in EXTRA_KEYS], ENVELOPE_KEYS)
        await node.result("note")


@case(*TO_IT)
async def nothing_of_parley_1_is_said():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        for n in range(5):
            await node.send("manager", f"note.{n}", {"n": n})
        connection = await manager.connection()
        kinds = [(await connection.handle())["type"] for _ in range(5)]
        check("frames", kinds, ["peer_message"] * 5)


@case(*TO_IT)
async def many_arrive_in_order_with_numbers_without_gaps():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        for n in range(30):
            await node.send("manager", f"note.{n}", {"n": n})
        connection = await manager.connection()
        seen = []
        for _ in range(30):
            frame = await connection.handle()
            seen.append((int(frame["sequence_num"]), frame["payload"]["n"]))
        check("order", seen, [(n + 1, n) for n in range(30)])
        for n in range(30):
            check("result", (await node.result(f"note.{n}"))["outcome"], "delivered")


@case(*TO_IT)
async def acknowledgements_match_by_seq_in_any_order():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        await node.send("manager", "warm", {})
        connection = await manager.connection()
        await connection.handle()
        await node.result("warm")
        await node.send("manager", "a", {})
        frame = await connection.get()
        await connection.say("status", {"event": "message_received",
                                        "original_type": "peer_message", "seq": 999999})
        await connection.acknowledge(frame)
        check("result", (await node.result("a"))["outcome"], "delivered")


@case(*TO_IT)
async def silence_means_sent_and_nothing_is_resent():
    settings = {"transport": {"websocket": {"ack_timeout_ms": 100}}}
    async with Manager() as manager, Node([ws_only(manager)], **settings) as node:
        await node.send("manager", "first", {})
        connection = await manager.connection()
        await connection.get()
        check("result", await node.outcome("first"), ("sent", "websocket", 1))
        await node.send("manager", "second", {})
        check("the next frame", (await connection.handle())["msg_type"], "second")
        check("result", await node.outcome("second"), ("delivered", "websocket", 1))


@case(*TO_IT)
async def handler_error_is_a_refusal():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        await node.send("manager", "note", {})
        connection = await manager.connection()
        await connection.get()
        await connection.say("error", {"error": "Handler error: no such task"})
        result = await node.result("note")
        check("result", (result["outcome"], result["detail"]),
              ("rejected", "Handler error: no such task"))


@case(*TO_IT)
async def unacknowledged_is_sent_again_after_a_reconnect():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        await node.send("manager", "note", {"n": 1})
        connection = await manager.connection()
        first = await connection.get()
        await connection.close(1001, "Server shutting down")
        again = await (await manager.connection()).handle()
        check("the same id, session and number",
              [again[key] for key in ("message_id", "session_id", "sequence_num")],
              [first[key] for key in ("message_id", "session_id", "sequence_num")])
        result = await node.result("note")
        check("result", (result["outcome"], result["attempts"], result["maybe_duplicate"]),
              ("delivered", 2, True))


@case(*TO_IT)
async def the_session_is_named_in_the_upgrade_and_no_token_is():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        await node.send("manager", "note", {})
        frame = await (await manager.connection()).handle()
        path, headers = manager.upgrades[0]
        url = urllib.parse.urlsplit(path)
        query = urllib.parse.parse_qs(url.query)
        check("path", url.path, "/ws/v1/peers")
        check("session", query.get("session_id"), [frame["session_id"]])
        check("token", "token" in query or "Authorization" in headers, False)
        check("extensions", headers.get("Sec-WebSocket-Extensions"), None)


@case(*TO_IT)
async def a_token_goes_into_the_header():
    async with Manager() as manager, Node([ws_only(manager, token="a.b.c")]) as node:
        await node.send("manager", "note", {})
        await (await manager.connection()).handle()
        path, headers = manager.upgrades[0]
        check("header", headers.get("Authorization"), "Bearer a.b.c")
        check("query", "token=" in path, False)


@case(*TO_IT)
async def and_into_the_query_where_configured():
    peer = {"token": "a.b.c", "token_in_query": True}
    async with Manager() as manager, Node([ws_only(manager, **peer)]) as node:
        await node.send("manager", "note", {})
        await (await manager.connection()).handle()
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(manager.upgrades[0][0]).query)
        check("query", query.get("token"), ["a.b.c"])


@case(*TO_IT)
async def a_refused_token_is_told():
    settings = {"transport": {"ttl_ms": 1000, "websocket": {"reconnect_attempts": 1}}}
    async with Manager(refuse_token="a.b.c") as manager, \
            Node([ws_only(manager, token="a.b.c")], **settings) as node:
        await node.send("manager", "note", {})
        result = await node.result("note")
        check("not delivered", result["outcome"] in ("exhausted", "expired", "rejected"), True)
        check("why", "403" in result["detail"] + node.log.decode() + json.dumps(node.events),
              True)


@case(*TO_IT)
async def dialect_manager_is_as_good_as_found_out():
    async with Manager() as manager, Node([ws_only(manager, dialect="manager")]) as node:
        await node.send("manager", "note", {"n": 1})
        check("payload", (await (await manager.connection()).handle())["payload"], {"n": 1})
        check("result", await node.outcome("note"), ("delivered", "websocket", 1))


@case(*TO_IT)
async def dialect_parley_never_falls_back():
    settings = {"transport": {"ttl_ms": 500}}
    async with Manager() as manager, Node([ws_only(manager, dialect="parley")],
                                          **settings) as node:
        await node.send("manager", "note", {})
        connection = await manager.connection()
        result = await node.result("note")
        check("not delivered", result["outcome"] in ("exhausted", "expired"), True)
        await connection.closed()
        got = [line for line in connection.transcript.lines if line.startswith("<")]
        check("frames with a message", [line for line in got if "payload" in line
                                        and '"note"' in line], [])


@case(*TO_IT)
async def the_pace_keeps_after_the_burst():
    paced = {"pace": True, "rate_burst": 3, "rate_per_min": 300}  # then one in 200 ms
    async with Manager() as manager, Node([ws_only(manager, **paced)]) as node:
        start = time.monotonic()
        for n in range(6):
            await node.send("manager", f"note.{n}", {"n": n})
        connection = await manager.connection()
        for n in range(6):
            check("order", (await connection.handle())["payload"], {"n": n})
        check("3 more took their time", time.monotonic() - start > 0.55, True)
        for n in range(6):
            check("result", (await node.result(f"note.{n}"))["outcome"], "delivered")


@case(*TO_IT)
async def parley_send_reaches_it_by_a_flag():
    async with Manager() as manager:
        sender = await asyncio.create_subprocess_exec(
            f"{BUILD}/parley", "send", "--json", "--url", manager.url, "--type", "note",
            "--dialect", "manager", "--transport", "ws", "--node-id", "cli", '{"n":1}',
            stdout=asyncio.subprocess.PIPE)
        frame = await (await manager.connection()).handle()
        check("frame", (frame["sender_id"], frame["msg_type"], frame["payload"]),
              ("cli", "note", {"n": 1}))
        result = json.loads((await asyncio.wait_for(sender.communicate(), DEADLINE))[0])
        check("result", (result["outcome"], result["transport"], sender.returncode),
              ("delivered", "websocket", 0))


@case(*TO_HTTP)
async def a_refused_upgrade_leaves_http():
    peer = {"preference": "websocket_first", "token": "a.b.c"}
    async with Manager(refuse_token="a.b.c") as manager, AioService() as service:
        peer["ws_url"] = manager.url.replace("http", "ws") + "/ws/v1/peers"
        async with Node([ws_only(service, **peer)]) as node:
            for n in range(3):
                await node.send("manager", f"note.{n}", {"n": n})
            for n in range(3):
                check("result", await node.outcome(f"note.{n}"), ("delivered", "http", 1))
            check("numbers", [e["sequence_num"] for e in service.envelopes], [1, 2, 3])


@case(*TO_HTTP)
async def a_lost_connection_moves_what_is_unacknowledged_to_http_in_order():
    async with AioService() as service:
        manager = Manager()
        await manager.__aenter__()
        peer = {"preference": "websocket_first",
                "ws_url": manager.url.replace("http", "ws") + "/ws/v1/peers"}
        async with Node([ws_only(service, **peer)]) as node:
            for n in range(5):
                await node.send("manager", f"note.{n}", {"n": n})
            connection = await manager.connection()
            await connection.handle()
            check("result", await node.outcome("note.0"), ("delivered", "websocket", 1))
            manager.server.close()
            await connection.close(1001, "Server shutting down")
            for n in range(1, 5):
                result = await node.result(f"note.{n}")
                check("result", (result["outcome"], result["transport"]),
                      ("delivered", "http"))
            check("order", [e["payload"]["n"] for e in service.envelopes], [1, 2, 3, 4])
        await manager.__aexit__()


@case(*TO_HTTP)
async def its_hint_sends_one_message_over_http():
    async with AioService() as service, Manager() as manager:
        peer = {"preference": "websocket_first",
                "ws_url": manager.url.replace("http", "ws") + "/ws/v1/peers"}
        async with Node([ws_only(service, **peer)]) as node:
            await node.send("manager", "a", {"n": 1})
            connection = await manager.connection()
            await connection.handle()
            await node.send("manager", "b", {"n": 2}, "send-http")
            check("result", await node.outcome("b"), ("delivered", "http", 1))
            await node.send("manager", "c", {"n": 3})
            check("payload", (await connection.handle())["payload"], {"n": 3})
            check("result", await node.outcome("c"), ("delivered", "websocket", 1))


# ---- it to us, over the connection we opened ----

async def connected(manager, node):
    check("connect", await node.command("connect manager"), "OK")
    connection = await manager.connection()
    await node.event("state", peer="manager", state="open")
    connection.transcript.lines.clear()
    return connection


@case(*TO_US)
async def its_ping_draws_a_pong_with_its_seq():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        connection = await connected(manager, node)
        for seq in (1, 2):
            await connection.say("ping", {}, seq=seq)
            frame = await connection.get()
            check("answer", (frame["type"], frame.get("seq", frame["payload"].get("seq"))),
                  ("pong", seq))


@case(*TO_US)
async def its_pong_draws_nothing():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        connection = await connected(manager, node)
        for seq in range(3):
            await connection.say("pong", {}, seq=seq)
        await connection.say("ping", {}, seq=9)
        check("the next frame", (await connection.get())["type"], "pong")


@case(*TO_US)
async def its_capability_exchange_is_answered():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        connection = await connected(manager, node)
        await connection.say("capability_exchange", {"capabilities": ["messaging"]}, seq=1)
        frame = await connection.get()
        check("type", frame["type"], "capability_exchange")
        check("acknowledged", frame["payload"].get("acknowledged"), True)


@case(*TO_US)
async def its_status_and_errors_break_nothing():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        connection = await connected(manager, node)
        await connection.say("status", {"event": "busy", "load": 3})
        await connection.say("error", {"error": "Rate limit exceeded (100 msg/min)"})
        await connection.say("error", {"error": "Invalid JSON format"})
        await connection.put(json.dumps({"type": "surprise"}))
        await node.send("manager", "note", {"n": 1})
        while (frame := await connection.get()).get("msg_type") != "note":
            pass
        await connection.acknowledge(frame)
        check("result", await node.outcome("note"), ("delivered", "websocket", 1))


@case(*TO_US)
async def its_malformed_frame_costs_a_connection_at_most():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        connection = await connected(manager, node)
        await within(connection.ws.send('{"type":"status","type":"ping"}'))
        check("close", (await connection.closed())[0], 1007)
        await node.send("manager", "note", {"n": 1})
        frame = await (await manager.connection()).handle()
        check("payload", frame["payload"], {"n": 1})
        check("result", await node.outcome("note"), ("delivered", "websocket", 1))


@case(*TO_US)
async def its_message_reaches_the_handler():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        connection = await connected(manager, node)
        await connection.say("task_result", {"n": 1}, seq=4)
        message = await node.message()
        check("message", (message["sender"], message["type"], message["payload"]),
              ("manager", "task_result", {"n": 1}))


@case(*TO_US)
async def its_envelope_reaches_the_handler():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        connection = await connected(manager, node)
        await connection.put(json.dumps({
            "version": "1.0", "msg_type": "note", "sender_id": "manager", "payload": {"n": 2},
            "timestamp": iso(), "nonce": "0123456789abcdef0123456789abcdef",
            "session_id": "b3a4f6f0-0000-4000-8000-000000000001", "sequence_num": 1}))
        message = await node.message()
        check("message", (message["sender"], message["type"], message["payload"]),
              ("manager", "note", {"n": 2}))


@case(*TO_US)
async def messages_cross():
    async with Manager() as manager, Node([ws_only(manager)]) as node:
        connection = await connected(manager, node)
        for n in range(10):
            await node.send("manager", f"ours.{n}", {"n": n})
            await connection.say("theirs", {"n": n}, seq=n + 1)
        left = 10
        while left > 0:
            frame = await connection.get()
            if frame.get("msg_type", "").startswith("ours"):
                await connection.acknowledge(frame)
                left -= 1
        check("theirs in order", [(await node.message())["payload"]["n"] for _ in range(10)],
              list(range(10)))
        for n in range(10):
            check("result", (await node.result(f"ours.{n}"))["outcome"], "delivered")


play()
