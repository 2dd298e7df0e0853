# SPDX-License-Identifier: Apache-2.0
"""The curl binary posts each form of the envelope to us, and draws each error.

WIRE facts: PROTOCOL.md, "HTTP" and "Endpoints".
"""
import asyncio
import json
import sys

sys.path.insert(0, sys.path[0] + "/players")
from harness import DEADLINE, Node, case, check, play, within

ROW = ("curl", "to us", "HTTP")
RECEIVED = '{"status":"received","entity_id":"node","verification":"disabled"}'

FULL = ('{"payload":{"n":1},"timestamp":1700000000.5,"nonce":"AAECAwQFBgcICQoLDA0ODw==",'
        '"signature":null,"encrypted_payload":null,"sender_public_key":null,"jwt_token":null,'
        '"sender_id":"curl","recipient_id":"node",'
        '"session_id":"b3a4f6f0-0000-4000-8000-000000000001","sequence_num":1,'
        '"version":"1.0","msg_type":"note"}')
UNSIGNED = ('{"version": "1.0", "msg_type": "note", "sender_id": "curl", "payload": {"n": 1}, '
            '"timestamp": "2026-01-02T03:04:05Z", "nonce": "00112233445566778899aabbccddeeff", '
            '"session_id": "b3a4f6f0-0000-4000-8000-000000000001", "sequence_num": 1}')
LEGACY = ('{"from": "curl", "type": "note", "payload": {"n": 1}, '
          '"timestamp": "2026-01-02T03:04:05Z"}')
V03 = ('{"version": "0.3", "msg_type": "note", "sender_id": "curl", "payload": {"n": 1}, '
       '"timestamp": 1700000000.5, "nonce": "n"}')

UPGRADE = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket"]
KEY = ["-H", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
VERSION = ["-H", "Sec-WebSocket-Version: 13"]


async def curl(node, path, *options, data=None):
    """(code, body, headers in lower case)"""
    process = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--show-error", "--include", "--noproxy", "*",
        "--max-time", str(DEADLINE), *options, *(["--data-binary", "@-"] if data is not None
                                                  else []),
        node.url + path, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE)
    out, error = await within(process.communicate((data or "").encode()))
    check(f"curl ({error.decode()})", process.returncode, 0)
    head, body = out.decode().split("\r\n\r\n", 1)
    while head.startswith("HTTP/1.1 100"):
        head, body = body.split("\r\n\r\n", 1)
    lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), body, headers


def requests(**table):
    """One case each: name=(expected code, expected body or None, path, options, data)."""
    for name, (code, body, path, options, data) in table.items():
        async def request(code=code, body=body, path=path, options=options, data=data):
            async with Node() as node:
                seen = await curl(node, path, *options, data=data)
                check("code", seen[0], code)
                if body is not None:
                    check("body", seen[1], body)
                check("a reply's type", "application/json" in
                      seen[2].get("content-type", "application/json"), True)
                if code == 405:
                    check("Allow", "allow" in seen[2], True)
                handled = (await node.stats())["handled"]
                check("handled", handled, 1 if code == 200 and path == "/message" else 0)
        request.__name__ = name
        case(*ROW)(request)


def detail(text):
    return json.dumps({"detail": text}, separators=(",", ":"))


JSON = ["-H", "Content-Type: application/json"]
requests(
    full=(200, RECEIVED, "/message", JSON, FULL),
    unsigned=(200, RECEIVED, "/message", JSON, UNSIGNED),
    legacy=(200, RECEIVED, "/message", JSON, LEGACY),
    version_0_3=(200, RECEIVED, "/message", JSON, V03),
    curls_own_content_type=(200, RECEIVED, "/message", [], FULL),
    http_1_0=(200, RECEIVED, "/message", ["--http1.0"], FULL),
    waiting_for_100=(200, RECEIVED, "/message", ["-H", "Expect: 100-continue"], FULL),
    not_json=(400, detail("Invalid JSON"), "/message", JSON, "{"),
    no_form=(400, detail("Unknown message format"), "/message", JSON, '{"a":1}'),
    version=(400, detail("Unsupported version: 9"), "/message", JSON,
             FULL.replace('"1.0"', '"9"')),
    no_session=(400, detail("Missing required field: session_id"), "/message", JSON,
                FULL.replace('"session_id"', '"other"')),
    no_number=(400, detail("Missing required field: sequence_num"), "/message", JSON,
               FULL.replace('"sequence_num"', '"other"')),
    chunked_encoding=(400, None, "/message", ["-H", "Transfer-Encoding: chunked"], FULL),
    no_length=(411, None, "/message", ["-X", "POST", "-H", "Content-Length:"], None),
    not_found=(404, detail("Not Found"), "/nope", [], None),
    post_not_found=(404, detail("Not Found"), "/nope", JSON, FULL),
    get_message=(405, detail("Method Not Allowed"), "/message", [], None),
    put_message=(405, detail("Method Not Allowed"), "/message", ["-X", "PUT"], FULL),
    delete_health=(405, detail("Method Not Allowed"), "/health", ["-X", "DELETE"], None),
    upgrade_of_another_version=(426, None, "/ws/v1/peers",
                                [*UPGRADE, *KEY, "-H", "Sec-WebSocket-Version: 8"], None),
    upgrade_without_a_version=(426, None, "/ws/v1/peers", [*UPGRADE, *KEY], None),
    upgrade_with_a_short_key=(400, None, "/ws/v1/peers",
                              [*UPGRADE, *VERSION, "-H", "Sec-WebSocket-Key: QUJD"], None),
    upgrade_elsewhere=(404, None, "/ws/v2", [*UPGRADE, *KEY, *VERSION], None),
    health=(200, None, "/health", [], None),
    root=(200, None, "/", [], None),
    public_key=(200, '{"entity_id":"node","public_key":null}', "/public-key", [], None),
    peers=(200, '{"entity_id":"node","peers":[],"count":0}', "/peers", [], None),
)


@case(*ROW)
async def sequence_error_and_repeat():
    async with Node() as node:
        check("first", (await curl(node, "/message", data=FULL))[:2], (200, RECEIVED))
        check("again", (await curl(node, "/message", data=FULL))[:2], (200, RECEIVED))
        lower = FULL.replace("AAECAwQFBgcICQoLDA0ODw==", "another")
        check("lower", (await curl(node, "/message", data=lower))[:2],
              (400, detail("SEQUENCE_ERROR")))
        check("handled", (await node.stats())["handled"], 1)


@case(*ROW)
async def handler_error():
    async with Node() as node:
        await node.command("refuse note not today")
        check("reply", (await curl(node, "/message", data=FULL))[:2],
              (400, detail("Handler error: not today")))


@case(*ROW)
async def too_large():
    async with Node() as node:
        code, _, _ = await curl(node, "/message", "-H", "Expect:",
                                data=FULL[:-1] + " " * (3 << 20) + "}")
        check("code", code, 413)


@case(*ROW)
async def token_asked_for():
    async with Node(security={"jwt_secret": "s" * 32}) as node:
        check("none", (await curl(node, "/message", data=FULL))[0], 401)
        check("garbage", (await curl(node, "/message", "-H", "Authorization: Bearer a.b.c",
                                     data=FULL))[0], 401)
        check("on an upgrade", (await curl(node, "/ws/v1/peers", *UPGRADE, *KEY,
                                           *VERSION))[0], 403)


@case(*ROW)
async def keep_alive_of_several_posts():
    async with Node() as node:
        path, second = "/message", FULL.replace('"sequence_num":1', '"sequence_num":2')
        process = await asyncio.create_subprocess_exec(
            "curl", "--silent", "--noproxy", "*", "--max-time", str(DEADLINE), "-d", FULL,
            node.url + path, "--next", "--silent", "-d", second.replace("AAEC", "BBBB"),
            node.url + path, "--write-out", " %{num_connects}",
            stdout=asyncio.subprocess.PIPE)
        out, _ = await within(process.communicate())
        check("both replies, and no second connection", out.decode(), RECEIVED * 2 + " 0")


play()
