# SPDX-License-Identifier: Apache-2.0
"""What the interop scripts share: a real node to drive, cases to count, transcripts to compare.

A script lists cases with @case(peer played, direction, transport); play() runs them, a few
at a time, and prints for each row of the table "interop: PEER | DIRECTION | TRANSPORT |
CASES | PASSED", which test/run.sh collects. A case fails when one of its checks does or when
it raises; every wait has a deadline and waits for an event.
"""
import asyncio
import base64
import hashlib
import hmac
import json
import os
import re
import sys
import tempfile
import time
import traceback

BUILD = os.environ.get("BUILD", "build")
DEADLINE = float(os.environ.get("DEADLINE", "30"))  # seconds any single wait may take
AT_ONCE = 4  # cases under way together
STREAM_LIMIT = 8 << 20

_cases = []


class Failed(Exception):
    """A check that did not hold."""


def check(what, seen, expected):
    if seen != expected:
        raise Failed(f"{what}:\n    expected {expected!r}\n    seen     {seen!r}")


def case(peer, direction, transport):
    """Registers an async function as a case of that row of the table."""
    def register(function):
        _cases.append(((peer, direction, transport), function))
        return function
    return register


def within(awaitable):
    return asyncio.wait_for(awaitable, DEADLINE)


async def _run(function, gate):
    async with gate:
        try:
            await asyncio.wait_for(function(), 4 * DEADLINE)
        except Failed as failure:
            return str(failure)
        except Exception as error:  # whatever a case raises is its failure
            at = [frame for frame in traceback.extract_tb(error.__traceback__)
                  if "test/interop" in frame.filename]
            return f"{at[0].lineno}, {at[-1].lineno}: {error!r}" if at else repr(error)
    return None


async def _play(cases):
    gate = asyncio.Semaphore(AT_ONCE)
    return await asyncio.gather(*(_run(function, gate) for _, function in cases))


def play():
    """Runs the script's cases, or those whose names contain one of its arguments."""
    words = sys.argv[1:]
    cases = [entry for entry in _cases
             if not words or any(word in entry[1].__name__ for word in words)]
    outcomes = asyncio.run(_play(cases))
    rows = {}
    for (row, function), failure in zip(cases, outcomes):
        total, passed = rows.get(row, (0, 0))
        rows[row] = (total + 1, passed + (failure is None))
        if failure is not None:
            print(f"FAILED {function.__name__} ({', '.join(row)}): {failure}")
    for row, (total, passed) in rows.items():
        print("interop: " + " | ".join((*row, str(total), str(passed))))
    sys.exit(1 if any(outcomes) else 0)


def token(secret, lifetime_s=300, entity="old-1"):
    """A JSON Web Token, HS256."""
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")
    now = int(time.time())
    claims = {"sub": entity, "iat": now, "exp": now + lifetime_s, "iss": "peer-service"}
    text = (part(b'{"alg":"HS256","typ":"JWT"}') + b"." +
            part(json.dumps(claims, separators=(",", ":")).encode()))
    signature = hmac.new(secret.encode(), text, hashlib.sha256).digest()
    return (text + b"." + part(signature)).decode()


def _yaml(value, indent=0):
    """Mappings and lists of mappings as YAML: all that a configuration needs."""
    pad = " " * indent
    lines = []
    for key, inner in value.items():
        if isinstance(inner, dict):
            lines += [f"{pad}{key}:", _yaml(inner, indent + 2)]
        elif isinstance(inner, list):
            lines.append(f"{pad}{key}:" + ("" if inner else " []"))
            for item in inner:
                text = _yaml(item, indent + 4)
                lines.append(pad + "  - " + text[indent + 4:])
        else:
            lines.append(f"{pad}{key}: {json.dumps(inner)}")
    return "\n".join(lines)


def _merged(base, more):
    merged = dict(base)
    for key, value in more.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged


class Node:
    """A node of ours, driven through build/test/interop/driver.

    Peers are dictionaries as under `peers` of the configuration; they are not paced unless
    they say so. Settings merge over short pauses, so that nothing here waits long.
    """
    SETTINGS = {
        "runtime": {"workers": 1},
        "transport": {
            "websocket": {"reconnect_min_ms": 20, "reconnect_max_ms": 100,
                          "ack_timeout_ms": 5000, "connect_grace_ms": 20000},
            "http": {"backoff_ms": 20},
        },
    }

    def __init__(self, peers=(), node_id="node", **settings):
        self.settings = _merged(self.SETTINGS, settings)
        self.settings["node"] = _merged(
            {"id": node_id, "listen_host": "127.0.0.1", "listen_port": 0},
            settings.get("node", {}))
        self.settings["peers"] = [{"pace": False, **peer} for peer in peers]
        self.events = []
        self.log = b""
        self.process = None
        self.ended = False

    async def __aenter__(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(_yaml(self.settings) + "\n")
            file.flush()
            self.process = await asyncio.create_subprocess_exec(
                f"{BUILD}/test/interop/driver", file.name, stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                limit=STREAM_LIMIT)
            self.news = asyncio.Condition()
            self.log_reader = asyncio.ensure_future(self._read_log())
            self.event_reader = asyncio.ensure_future(self._read_events())
            self.port = (await self.event("ready"))["port"]
        return self

    async def __aexit__(self, kind, *unused):
        if self.process.returncode is None and not self.process.stdin.is_closing():
            self.process.stdin.write(b"quit\n")
            self.process.stdin.close()
        code = await within(self.process.wait())
        await within(asyncio.gather(self.log_reader, self.event_reader))
        if kind is not None and self.log:
            print(self.log.decode(errors="replace"), end="")
        if kind is None:
            check(f"exit code of the node ({self.log.decode(errors='replace')})", code, 0)

    async def _read_log(self):
        while line := await self.process.stderr.readline():
            self.log += line

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self):
        return f"ws://127.0.0.1:{self.port}/ws/v1/peers"

    async def _read_events(self):
        while line := await self.process.stdout.readline():
            async with self.news:
                self.events.append(json.loads(line))
                self.news.notify_all()
        async with self.news:
            self.ended = True
            self.news.notify_all()

    async def event(self, kind, **members):
        """The next event of a kind with these members; others are kept for later."""
        def taken():
            for event in self.events:
                if event["event"] == kind and all(event[k] == v for k, v in members.items()):
                    self.events.remove(event)
                    return event
            return self.ended
        async with self.news:
            try:
                event = await within(self.news.wait_for(taken))
            except asyncio.TimeoutError:
                raise Failed(f"no event {kind} {members}; there were {self.events}") from None
        if event is True:
            await within(self.log_reader)
            raise Failed(f"the node ended: {self.log.decode(errors='replace')}")
        return event

    async def command(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        await self.process.stdin.drain()
        return (await self.event("done"))["status"]

    async def send(self, peer, kind, payload, verb="send"):
        status = await self.command(f"{verb} {peer} {kind} " +
                                    json.dumps(payload, separators=(",", ":")))
        check(f"sending {kind}", status, "OK")

    async def result(self, kind):
        return await self.event("result", name=kind)

    async def outcome(self, kind):
        """What became of a message: (outcome, transport, attempts)."""
        result = await self.result(kind)
        return result["outcome"], result["transport"], result["attempts"]

    async def message(self, **members):
        return await self.event("message", **members)

    async def stats(self):
        await self.command("stats")
        return await self.event("stats")


class _Number(str):
    """A JSON number as it stood in the text."""


VOLATILE = {"message_id": "id", "ack_message_id": "id", "session_id": "session",
            "nonce": "nonce", "timestamp": "time", "token": "token"}
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


class Transcript:
    """What one player got and sent, with ids, times, nonces and sessions replaced.

    Each value is replaced by its kind and a number that tells it from others of its kind, so
    that an acknowledgement names the id of what it acknowledges. A time in words becomes
    <iso>, one in seconds with a fraction <time>. All other bytes stay as they were.
    """

    def __init__(self):
        self.lines = []
        self.names = {}

    def _replacements(self, value):
        if isinstance(value, list):
            for inner in value:
                yield from self._replacements(inner)
        if not isinstance(value, dict):
            return
        for key, inner in value.items():
            if key in VOLATILE and isinstance(inner, str) and inner:
                yield key, inner
            else:
                yield from self._replacements(inner)

    def _name(self, key, value):
        kind = VOLATILE[key]
        if kind == "time":
            if isinstance(value, _Number):
                return "<time>" if "." in value else value
            return '"<iso>"' if _ISO.fullmatch(value) else '"<not a time>"'
        names = self.names.setdefault(kind, {})
        return f'"<{kind}{names.setdefault(value, len(names) + 1)}>"'

    def normal(self, text):
        document = json.loads(text, parse_float=_Number, parse_int=lambda text: int(text))
        for key, value in self._replacements(document):
            literal = value if isinstance(value, _Number) else json.dumps(value)
            text = text.replace(literal, self._name(key, value))
        return text

    def got(self, text):
        self.lines.append("< " + self.normal(text))
        return json.loads(text)

    def sent(self, text):
        self.lines.append("> " + self.normal(text))
        return text

    def note(self, text):
        self.lines.append("* " + text)

    def compare(self, expected):
        """Line by line; … in an expected line stands for anything."""
        wanted = [line.strip() for line in expected.strip().splitlines()]
        for number in range(max(len(wanted), len(self.lines))):
            want = wanted[number] if number < len(wanted) else "(nothing)"
            seen = self.lines[number] if number < len(self.lines) else "(nothing)"
            pattern = ".*".join(re.escape(part) for part in want.split("…"))
            if not re.fullmatch(pattern, seen, re.S):
                raise Failed(f"transcript, line {number + 1}:\n    expected {want}\n"
                             f"    seen     {seen}\n" +
                             "".join(f"      {line}\n" for line in self.lines))
