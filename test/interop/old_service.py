# SPDX-License-Identifier: Apache-2.0
"""We send to an old HTTP service: http.server and aiohttp, in all its moods.

WIRE facts: PROTOCOL.md, "The envelope", "HTTP", "Chunks" (what pace it takes). The services
here keep what they got; scripts decide what they answer.
"""
import asyncio
import json
import sys
import time

sys.path.insert(0, sys.path[0] + "/players")
from harness import BUILD, DEADLINE, Node, Transcript, case, check, play
from http_service import AioService, RECEIVED, Raw, StdService, receive

STD = ("old service (Python http.server)", "from us", "HTTP")
AIO = ("old service (Python aiohttp)", "from us", "HTTP")
RAW = ("old service (recording socket)", "from us", "HTTP")

ENVELOPE_KEYS = ["payload", "timestamp", "nonce", "signature", "encrypted_payload",
                 "sender_public_key", "jwt_token", "sender_id", "recipient_id", "session_id",
                 "sequence_num", "version", "msg_type"]
EXTRA_KEYS = {"message_id", "type"}  # ours; old receivers ignore them over HTTP


def peer(service, **more):
    return {"id": "service", "url": service.url, "preference": "http_only", **more}


def both(function):
    """The same case with either library playing the service."""
    for row, kind in ((STD, StdService), (AIO, AioService)):
        def bound(kind=kind):
            return function(kind)
        bound.__name__ = f"{function.__name__}_{kind.__name__}"
        case(*row)(bound)
    return function


def answering(*answers):
    """A script that gives these answers one after the other, and then 200."""
    left = list(answers)

    async def script(request):
        return left.pop(0) if left else RECEIVED
    return script


def detail(code, text):
    return code, {"detail": text}


@both
async def an_envelope_to_the_byte(kind):
    async with kind() as service, Node([peer(service)]) as node:
        await node.send("service", "task_delegate", {"n": 1})
        result = await node.result("task_delegate")
        check("result", [result[key] for key in ("outcome", "transport", "attempts",
                                                 "http_code")],
              ["delivered", "http", 1, 200])
        request = service.requests[0]
        transcript = Transcript()
        transcript.got(request.text)
        transcript.compare("""
            < {"payload":{"n":1},"timestamp":<time>,"nonce":"<nonce1>","signature":null,"encrypted_payload":null,"sender_public_key":null,"jwt_token":null,"sender_id":"node","recipient_id":"service","session_id":"<session1>","sequence_num":1,"version":"1.0","msg_type":"task_delegate","message_id":"<id1>","type":"peer_message"}
            """)
        headers = request.headers
        check("content type", headers["Content-Type"], "application/json")
        check("length", headers["Content-Length"], str(len(request.text.encode())))
        check("chunked", "Transfer-Encoding" in headers, False)
        check("expect", "Expect" in headers, False)
        check("token", "Authorization" in headers, False)


@both
async def not_one_key_it_does_not_know_breaks_it(kind):
    async with kind() as service, Node([peer(service)]) as node:
        await node.send("service", "note", {})
        await node.result("note")
        keys = list(service.envelopes[0])
        check("keys in order", [key for key in keys if key not in EXTRA_KEYS], ENVELOPE_KEYS)


@both
async def one_at_a_time_in_order_on_one_connection(kind):
    async def slow(request):
        await asyncio.sleep(0)  # lets a second request show itself
        return RECEIVED
    async with kind(slow) as service, Node([peer(service)]) as node:
        for n in range(30):
            await node.send("service", f"note.{n}", {"n": n})
        for n in range(30):
            check("result", await node.outcome(f"note.{n}"), ("delivered", "http", 1))
        check("numbers", [(e["sequence_num"], e["payload"]["n"]) for e in service.envelopes],
              [(n + 1, n) for n in range(30)])
        check("sessions", len({e["session_id"] for e in service.envelopes}), 1)
        check("ids", len({e["message_id"] for e in service.envelopes}), 30)
        check("requests at once", service.at_once_max, 1)
        check("connections", len({request.connection for request in service.requests}), 1)


@both
async def the_unpatched_one_gets_0_3_after_one_500(kind):
    async def script(request):
        if request.envelope["version"] == "0.3":
            return RECEIVED
        return detail(500, "Internal Server Error")
    async with kind(script) as service, Node([peer(service)]) as node:
        for n in range(3):
            await node.send("service", f"note.{n}", {"n": n})
        for n in range(3):
            check("result", (await node.result(f"note.{n}"))["outcome"], "delivered")
        check("versions", [e["version"] for e in service.envelopes],
              ["1.0", "0.3", "0.3", "0.3"])
        check("payloads", [e["payload"]["n"] for e in service.envelopes], [0, 0, 1, 2])
        check("session or number in 0.3",
              [key for e in service.envelopes[1:] for key in ("session_id", "sequence_num")
               if e.get(key) is not None], [])


@both
async def offered_0_3_from_the_start_where_configured(kind):
    async with kind() as service, \
            Node([peer(service, envelope_version="0.3")]) as node:
        await node.send("service", "note", {})
        check("result", await node.outcome("note"), ("delivered", "http", 1))
        check("version", service.envelopes[0]["version"], "0.3")


@both
async def a_configured_1_0_never_becomes_0_3(kind):
    script = answering(*[detail(500, "no")] * 9)
    async with kind(script) as service, \
            Node([peer(service, envelope_version="1.0")]) as node:
        await node.send("service", "note", {})
        check("result", await node.outcome("note"), ("exhausted", "http", 3))
        check("versions", [e["version"] for e in service.envelopes], ["1.0"] * 3)


@both
async def rate_limited_is_tried_again(kind):
    script = answering(detail(400, "rate_limited"))
    async with kind(script) as service, Node([peer(service)]) as node:
        await node.send("service", "note", {"n": 1})
        check("result", await node.outcome("note"), ("delivered", "http", 2))
        first, second = service.envelopes
        check("the same message", first["message_id"], second["message_id"])
        check("the same number", first["sequence_num"], second["sequence_num"])


@both
async def too_many_requests_is_tried_again(kind):
    script = answering((429, {"detail": "slow down"}, {"Retry-After": "0"}),
                       detail(408, "too slow"))
    async with kind(script) as service, Node([peer(service)]) as node:
        await node.send("service", "note", {"n": 1})
        check("result", await node.outcome("note"), ("delivered", "http", 3))


@both
async def refusals_are_final(kind):
    refusals = [detail(400, "Unknown sender: node"), detail(400, "Handler error: no"),
                detail(400, "Missing signature"), detail(401, "a"), detail(403, "b"),
                detail(404, "Not Found"), detail(405, "Method Not Allowed"),
                detail(413, "large"), detail(422, "c")]
    async with kind(answering(*refusals)) as service, Node([peer(service)]) as node:
        for n, (code, body) in enumerate(refusals):
            await node.send("service", f"note.{n}", {})
            result = await node.result(f"note.{n}")
            check("result", [result[key] for key in ("outcome", "attempts", "http_code",
                                                     "detail")],
                  ["rejected", 1, code, body["detail"]])
        check("requests", len(service.requests), len(refusals))


@both
async def a_5xx_is_tried_three_times_in_all(kind):
    script = answering(*[detail(503, "busy")] * 3)
    async with kind(script) as service, Node([peer(service)]) as node:
        await node.send("service", "note.1", {})
        await node.send("service", "note.2", {})
        result = await node.result("note.1")
        check("result", [result[key] for key in ("outcome", "attempts", "http_code")],
              ["exhausted", 3, 503])
        check("the next one", (await node.result("note.2"))["outcome"], "delivered")


@both
async def sequence_error_on_a_retry_means_it_had_arrived(kind):
    script = answering(None, detail(400, "SEQUENCE_ERROR"))
    async with kind(script) as service, Node([peer(service)]) as node:
        await node.send("service", "note", {"n": 1})
        check("result", await node.outcome("note"), ("delivered", "http", 2))
        check("numbers", [e["sequence_num"] for e in service.envelopes], [1, 1])


@both
async def sequence_error_at_first_is_a_refusal(kind):
    async with kind(answering(detail(400, "SEQUENCE_ERROR"))) as service, \
            Node([peer(service)]) as node:
        await node.send("service", "note", {"n": 1})
        result = await node.result("note")
        check("result", (result["outcome"], result["detail"]), ("rejected", "SEQUENCE_ERROR"))


@both
async def a_strict_one_never_sees_a_lower_number(kind):
    expected = {}
    seen = []

    async def strict(request):
        envelope = request.envelope
        number = expected.get(envelope["session_id"], 1)
        seen.append(envelope["sequence_num"])
        if envelope["sequence_num"] < number:
            return detail(400, "SEQUENCE_ERROR")
        expected[envelope["session_id"]] = envelope["sequence_num"] + 1
        if len(seen) in (3, 7, 8):
            return None if len(seen) != 8 else detail(503, "busy")  # after it has run
        return RECEIVED
    async with kind(strict) as service, Node([peer(service)]) as node:
        for n in range(12):
            await node.send("service", f"note.{n}", {"n": n})
        for n in range(12):
            check("result", (await node.result(f"note.{n}"))["outcome"], "delivered")
        check("never back", all(b - a in (0, 1) for a, b in zip(seen, seen[1:])), True)


@both
async def its_handler_may_call_us_back_first(kind):
    import aiohttp
    nodes = []

    async def calls_back(request):
        async with aiohttp.ClientSession() as session:
            envelope = {"version": "1.0", "msg_type": "callback", "sender_id": "service",
                        "payload": {"about": request.envelope["payload"]["n"]},
                        "timestamp": "2026-01-01T00:00:00Z", "nonce": f"{request.arrived}",
                        "session_id": "b3a4f6f0-0000-4000-8000-000000000001",
                        "sequence_num": request.envelope["sequence_num"]}
            async with session.post(f"{nodes[0].url}/message", json=envelope) as answer:
                check("our answer meanwhile", answer.status, 200)
        await nodes[0].message(type="callback")  # our handler has run before we get a reply
        return RECEIVED
    async with kind(calls_back) as service, Node([peer(service)]) as node:
        nodes.append(node)
        for n in range(3):
            await node.send("service", f"note.{n}", {"n": n})
            check("result", await node.outcome(f"note.{n}"), ("delivered", "http", 1))


@both
async def websocket_first_finds_no_websocket_and_posts(kind):
    async with kind() as service, \
            Node([peer(service, preference="websocket_first")]) as node:
        await node.send("service", "note", {"n": 1})
        check("result", await node.outcome("note"), ("delivered", "http", 1))
        check("posts", len(service.requests), 1)


@both
async def dialect_service_never_tries_a_websocket(kind):
    async with kind() as service, \
            Node([peer(service, preference="websocket_first", dialect="service")]) as node:
        await node.send("service", "note", {"n": 1})
        check("result", await node.outcome("note"), ("delivered", "http", 1))
        check("other requests", service.others, [])


@both
async def a_redirect_is_not_followed(kind):
    script = answering((302, {"detail": "there"}, {"Location": "/elsewhere"}))
    async with kind(script) as service, Node([peer(service)]) as node:
        await node.send("service", "note", {})
        await node.result("note")
        check("requests elsewhere", service.others, [])


@both
async def a_token_goes_into_the_header(kind):
    async with kind() as service, Node([peer(service, token="a.b.c")]) as node:
        await node.send("service", "note", {})
        await node.result("note")
        check("header", service.requests[0].headers.get("Authorization"), "Bearer a.b.c")
        check("path", service.requests[0].path, "/message")


@both
async def the_pace_keeps_after_the_burst(kind):
    paced = {"pace": True, "rate_burst": 3, "rate_per_min": 300}  # then one in 200 ms
    async with kind() as service, Node([peer(service, **paced)]) as node:
        start = time.monotonic()
        for n in range(6):
            await node.send("service", f"note.{n}", {"n": n})
        for n in range(6):
            check("result", (await node.result(f"note.{n}"))["outcome"], "delivered")
        check("order", [e["payload"]["n"] for e in service.envelopes], list(range(6)))
        check("3 more took their time", service.requests[5].arrived - start > 0.55, True)


@both
async def ping_asks_its_health(kind):
    async with kind() as service, Node([peer(service)]) as node:
        check("ping", await node.command("ping service http"), "OK")
        pong = await node.event("pong")
        check("pong", (pong["status"], pong["http_code"]), ("OK", 200))
        check("requests", service.others, ["GET /health"])


@case(*AIO)
async def parley_send_reaches_it_by_a_flag():
    async with AioService() as service:
        sender = await asyncio.create_subprocess_exec(
            f"{BUILD}/parley", "send", "--json", "--url", service.url, "--type", "note",
            "--dialect", "service", "--node-id", "cli", '{"n":1}',
            stdout=asyncio.subprocess.PIPE)
        result = json.loads((await asyncio.wait_for(sender.communicate(), DEADLINE))[0])
        check("result", (result["outcome"], result["transport"], sender.returncode),
              ("delivered", "http", 0))
        check("envelope", [service.envelopes[0][key] for key in ("sender_id", "payload")],
              ["cli", {"n": 1}])
        check("other requests", service.others, [])


@case(*RAW)
async def with_http_only_not_one_websocket_byte_leaves():
    async with Raw() as service, Node([peer(service)]) as node:
        for verb in ("send", "send-ws", "send-http"):
            await node.send("service", verb, {"n": 1}, verb)
            check("result", await node.outcome(verb), ("delivered", "http", 1))
        check("connect", await node.command("connect service"), "EREFUSED")
        check("ping over WebSocket", await node.command("ping service ws"), "EREFUSED")
        low = service.bytes.lower()
        check("words of a WebSocket", [word for word in (b"upgrade", b"websocket", b"/ws/")
                                       if word in low], [])
        check("requests", len(service.bodies), 3)


@case(*RAW)
async def websocket_disabled_is_the_same():
    settings = {"transport": {"websocket": {"enabled": False}}}
    async with Raw() as service, \
            Node([peer(service, preference="websocket_first")], **settings) as node:
        await node.send("service", "note", {"n": 1})
        check("result", await node.outcome("note"), ("delivered", "http", 1))
        check("words of a WebSocket", b"upgrade" in service.bytes.lower(), False)


@case(*RAW)
async def the_request_is_plain_http():
    async with Raw() as service, Node([peer(service)]) as node:
        await node.send("service", "note", {"n": 1})
        await node.result("note")
        head = service.bytes.split(b"\r\n\r\n")[0].decode().split("\r\n")
        check("request line", head[0], "POST /message HTTP/1.1")
        names = sorted(line.split(":")[0].lower() for line in head[1:])
        check("one Host", names.count("host"), 1)
        check("one Content-Length", names.count("content-length"), 1)
        check("no other body", [name for name in names
                                if name in ("transfer-encoding", "expect")], [])


@case(*RAW)
async def a_prefix_is_kept():
    async with Raw() as service:
        async with Node([{"id": "service", "url": service.url + "/a/b",
                          "preference": "http_only"}]) as node:
            await node.send("service", "note", {"n": 1})
            await node.result("note")
            check("request line", service.bytes.split(b"\r\n")[0],
                  b"POST /a/b/message HTTP/1.1")


@case(*RAW)
async def an_answer_that_is_no_json_still_counts_by_its_code():
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with Raw(reply) as service, Node([peer(service)]) as node:
        await node.send("service", "note", {"n": 1})
        check("result", await node.outcome("note"), ("delivered", "http", 1))


play()
