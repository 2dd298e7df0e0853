# SPDX-License-Identifier: Apache-2.0
"""An old service (aiohttp's client) posts to us: every form of the envelope, every reply.

WIRE facts: PROTOCOL.md, "The envelope", "Strict JSON", "HTTP".
"""
import asyncio
import json
import secrets
import sys
import uuid

sys.path.insert(0, sys.path[0] + "/players")
import aiohttp
from harness import DEADLINE, Node, case, check, play, token
from websocket import iso, now

ROW = ("old service (Python aiohttp)", "to us", "HTTP")

RECEIVED = '{"status":"received","entity_id":"node","verification":"disabled"}'


def full(number=1, session=None, **change):
    """The form an old service of version 1.0 sends, signature and all."""
    envelope = {"payload": {"n": number}, "timestamp": now(),
                "nonce": "AAECAwQFBgcICQoLDA0ODw==" if not number else secrets.token_hex(8),
                "signature": None, "encrypted_payload": None, "sender_public_key": None,
                "jwt_token": None, "sender_id": "sender", "recipient_id": "node",
                "session_id": session or str(uuid.uuid4()), "sequence_num": number,
                "version": "1.0", "msg_type": "task_delegate"}
    return {**envelope, **change}


def unsigned(**change):
    return {"version": "1.0", "msg_type": "status", "sender_id": "sender",
            "payload": {"n": 1}, "timestamp": iso(), "nonce": secrets.token_hex(16),
            "session_id": str(uuid.uuid4()), "sequence_num": 1, **change}


def legacy(**change):
    return {"from": "sender", "type": "note", "payload": {"n": 1}, "timestamp": iso(),
            **change}


def without(envelope, *keys):
    return {key: value for key, value in envelope.items() if key not in keys}


class Sender:
    def __init__(self, node):
        self.node = node

    async def __aenter__(self):
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE))
        return self

    async def __aexit__(self, *unused):
        await self.http.close()

    async def post(self, body, token=None):
        """(code, text of the reply)"""
        data = body if isinstance(body, (str, bytes)) else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        async with self.http.post(self.node.url + "/message", data=data,
                                  headers=headers) as answer:
            return answer.status, await answer.text()

    async def get(self, path, method="GET"):
        async with self.http.request(method, self.node.url + path) as answer:
            return answer.status, await answer.text(), answer.headers


async def taken(envelope, kind, payload, **expected):
    """Posts one envelope to a new node; it must be answered with 200 and handled once."""
    async with Node() as node, Sender(node) as sender:
        check("reply", await sender.post(envelope), (200, RECEIVED))
        message = await node.message()
        check("message", (message["sender"], message["type"], message["payload"]),
              ("sender", kind, payload))
        for key, value in expected.items():
            check(key, message[key], value)
        check("handled", (await node.stats())["handled"], 1)


def forms(**table):
    """One case for each form: name=(envelope, its type)."""
    for name, (envelope, kind) in table.items():
        async def form(envelope=envelope, kind=kind):
            await taken(envelope, kind, envelope["payload"])
        form.__name__ = f"form_{name}"
        case(*ROW)(form)


def refusals(**table):
    """One case for each refusal: name=(body, detail)."""
    for name, (body, text) in table.items():
        async def refusal(body=body, text=text):
            async with Node() as node, Sender(node) as sender:
                check("reply", await sender.post(body),
                      (400, json.dumps({"detail": text}, separators=(",", ":"))))
                check("handled", (await node.stats())["handled"], 0)
                check("the next one", (await sender.post(full()))[0], 200)
        refusal.__name__ = f"refused_{name}"
        case(*ROW)(refusal)


forms(
    full=(full(), "task_delegate"),
    full_with_a_signature=(full(signature="A" * 86 + "=="), "task_delegate"),
    full_with_a_public_key=(full(sender_public_key="ab" * 32), "task_delegate"),
    unsigned=(unsigned(), "status"),
    unsigned_with_z=(unsigned(timestamp="2026-01-02T03:04:05Z"), "status"),
    unsigned_with_offset=(unsigned(timestamp="2026-01-02T03:04:05.123456+02:00"), "status"),
    unsigned_with_a_number_as_time=(unsigned(timestamp=now()), "status"),
    unsigned_with_a_whole_number_as_time=(unsigned(timestamp=1700000000), "status"),
    any_nonce=(unsigned(nonce="whatever it is \u00e4\u4e2d"), "status"),
    no_nonce=(without(unsigned(), "nonce"), "status"),
    number_in_a_string=(unsigned(sequence_num="12"), "status"),
    nulls_are_absent=(unsigned(signature=None, jwt_token=None, recipient_id=None), "status"),
    unknown_keys=(unsigned(colour="red", deep={"a": [1, {"b": None}]}, x=1.5), "status"),
    version_0_3=(without(unsigned(version="0.3"), "session_id", "sequence_num"), "status"),
    version_0_3_full=(without(full(version="0.3"), "session_id", "sequence_num"),
                      "task_delegate"),
    legacy=(legacy(), "note"),
    legacy_with_a_number_as_time=(legacy(timestamp=now()), "note"),
    empty_payload=(unsigned(payload={}), "status"),
    payload_of_all_kinds=(unsigned(payload={"s": "\u00e4\U0001f600\"\\\n", "n": [0, -1, 2.5, 10**20],
                                            "t": [True, False, None], "o": {}}), "status"),
    unknown_msg_type=(unsigned(msg_type="never-heard-of-it"), "never-heard-of-it"),
)

refusals(
    not_json=("{", "Invalid JSON"),
    empty=("", "Invalid JSON"),
    text=("hello", "Invalid JSON"),
    trailing=(json.dumps(full()) + "x", "Invalid JSON"),
    duplicate_keys=(json.dumps(full())[:-1] + ',"version":"1.0"}', "Invalid JSON"),
    invalid_utf8=(b'{"from":"\xff"}', "Invalid JSON"),
    nan=(json.dumps(full(payload={"n": float("nan")})), "Invalid JSON"),
    lone_surrogate=('{"from":"\\ud800"}', "Invalid JSON"),
    too_deep=(json.dumps(full())[:-1] + ',"x":' + "[" * 40 + "]" * 40 + "}", "Invalid JSON"),
    no_form=({"a": 1}, "Unknown message format"),
    an_array=("[]", "Unknown message format"),
    version=(full(version="7.0"), "Unsupported version: 7.0"),
    no_session=(without(full(), "session_id"), "Missing required field: session_id"),
    null_session=(full(session_id=None, session=None) | {"session_id": None},
                  "Missing required field: session_id"),
    no_number=(without(full(), "sequence_num"), "Missing required field: sequence_num"),
)


@case(*ROW)
async def lower_is_an_error_a_gap_is_taken():
    session = str(uuid.uuid4())
    async with Node() as node, Sender(node) as sender:
        for number, expected in ((1, 200), (2, 200), (7, 200), (6, 400), (8, 200), (3, 400)):
            code, text = await sender.post(full(number, session))
            check(f"number {number}", code, expected)
            if code == 400:
                check("reply", text, '{"detail":"SEQUENCE_ERROR"}')
        check("handled", (await node.stats())["handled"], 4)


@case(*ROW)
async def a_repeat_gets_its_200_again_and_runs_once():
    session = str(uuid.uuid4())
    async with Node() as node, Sender(node) as sender:
        by_nonce = full(1, session)
        by_id = full(2, session, message_id=str(uuid.uuid4()))
        for envelope in (by_nonce, by_id):
            for _ in range(3):
                check("reply", await sender.post(envelope), (200, RECEIVED))
        by_id["nonce"] = secrets.token_hex(16)
        check("the same id, another nonce", await sender.post(by_id), (200, RECEIVED))
        check("handled", (await node.stats())["handled"], 2)


@case(*ROW)
async def sessions_count_apart():
    async with Node() as node, Sender(node) as sender:
        for _ in range(3):
            session = str(uuid.uuid4())
            for number in (1, 2):
                check("reply", (await sender.post(full(number, session)))[0], 200)
        check("handled", (await node.stats())["handled"], 6)


@case(*ROW)
async def a_refusing_handler_is_told():
    async with Node() as node, Sender(node) as sender:
        await node.command("refuse task_delegate not today")
        check("reply", await sender.post(full()),
              (400, '{"detail":"Handler error: not today"}'))


@case(*ROW)
async def hundred_on_a_few_connections():
    async with Node() as node, Sender(node) as sender:
        replies = await asyncio.gather(*(sender.post(full()) for _ in range(100)))
        check("replies", set(replies), {(200, RECEIVED)})
        check("handled", (await node.stats())["handled"], 100)


@case(*ROW)
async def health_and_the_others_have_their_keys_in_order():
    async with Node([{"id": "friend", "url": "http://127.0.0.1:9"}]) as node, \
            Sender(node) as sender:
        keys = {
            "/health": ["entity_id", "port", "peers", "healthy_peers", "total_stats_entries",
                        "crypto_available", "signing_enabled", "verification_enabled",
                        "public_key", "status", "timestamp"],
            "/peers": ["entity_id", "peers", "count"],
            "/stats": ["entity_id", "stats"],
            "/public-key": ["entity_id", "public_key"],
            "/": ["entity_id", "service", "version", "peers_count", "crypto_available",
                  "signing_enabled", "verification_enabled"],
        }
        for path, expected in keys.items():
            code, text, headers = await sender.get(path)
            check(f"code of {path}", code, 200)
            check(f"keys of {path}", list(json.loads(text))[:len(expected)], expected)
            check(f"type of {path}", headers["Content-Type"].split(";")[0], "application/json")
        health = json.loads((await sender.get("/health"))[1])
        check("optional keys", set(health) - set(keys["/health"]) <= {"queue", "heartbeat"},
              True)
        check("status", health["status"], "healthy")
        peers = json.loads((await sender.get("/peers"))[1])
        check("peers", (list(peers["peers"][0]), peers["count"]),
              (["entity_id", "address", "has_public_key"], 1))
        root = json.loads((await sender.get("/"))[1])
        check("root", (root["service"], root["version"]), ("peer-communication", "1.0"))


@case(*ROW)
async def wrong_paths_and_methods():
    async with Node() as node, Sender(node) as sender:
        check("path", (await sender.get("/nope"))[:2], (404, '{"detail":"Not Found"}'))
        for path, method, allow in (("/message", "GET", "POST"), ("/message", "PUT", "POST"),
                                    ("/health", "POST", "GET")):
            code, text, headers = await sender.get(path, method)
            check(f"{method} {path}", (code, text), (405, '{"detail":"Method Not Allowed"}'))
            check("Allow", allow in headers["Allow"], True)


@case(*ROW)
async def too_large_is_413():
    async with Node() as node, Sender(node) as sender:
        code, _ = await sender.post(full(payload={"x": "y" * (3 << 20)}))
        check("code", code, 413)


@case(*ROW)
async def without_a_good_token_401():
    secret = "s" * 32
    async with Node(security={"jwt_secret": secret}) as node, Sender(node) as sender:
        check("none", (await sender.post(full()))[0], 401)
        check("an old one", (await sender.post(full(), token=token(secret, -3600)))[0], 401)
        check("handled", (await node.stats())["handled"], 0)
        good = token(secret, entity="sender")
        check("a good one", await sender.post(full(), token=good), (200, RECEIVED))
        check("handled", (await node.stats())["handled"], 1)


play()
