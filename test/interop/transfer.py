# SPDX-License-Identifier: Apache-2.0
"""`parley send --file` to `parley listen`, through a proxy that counts, cuts and throttles.

What is promised: the file arrives once and whole, whatever is cut; what was acknowledged is
not sent again; memory is bounded on both sides; a transfer that is out of time says so. The
size is in TRANSFER_MIB (8): 50 takes a few seconds.
"""
import asyncio
import hashlib
import json
import os
import re
import struct
import socket
import sys
import tempfile

sys.path.insert(0, sys.path[0] + "/players")
from harness import BUILD, Failed, case, check, play, within

MIB = 1 << 20
SIZE = int(os.environ.get("TRANSFER_MIB", "8")) * MIB
WINDOW = 2 * MIB + 256 * 1024  # unanswered at a time, and the piece that was cut
ROW = ("parley", "between parleys, cut")


def bound(low, what, value, high):
    if not low <= value <= high:
        raise Failed(f"{what}: expected {low} to {high}, seen {value}")


class Proxy:
    """Passes bytes on, counts those that go up, and resets all connections at each of `cuts`
    of them; `held`: nothing goes up beyond that many."""

    def __init__(self, port, cuts=(), held=None):
        self.target, self.cuts, self.held = port, list(cuts), held
        self.up = self.connections = 0
        self.open = set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = "http://127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *unused):
        self.server.close()
        self._reset()

    def _reset(self):
        for writer in [writer for writer in self.open if not writer.is_closing()]:
            writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self.open.clear()

    async def _accept(self, reader, writer):
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self.open |= {writer, far_writer}
        await asyncio.gather(self._pass(reader, far_writer, True),
                             self._pass(far_reader, writer, False))
        self.open -= {writer, far_writer}

    async def _pass(self, reader, writer, up):
        try:
            while data := await reader.read(65536):
                self.up += len(data) if up else 0
                if up and self.cuts and self.up >= self.cuts[0]:
                    self.cuts.pop(0)
                    self._reset()
                if up and self.held is not None and self.up > self.held:
                    await asyncio.Event().wait()  # until the sender gives up
                writer.write(data)
                await writer.drain()
            writer.close()
        except (ConnectionError, OSError):
            writer.close()


class Listen:
    """`parley listen`."""

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            f"{BUILD}/parley", "listen", "--listen", "127.0.0.1:0", "--digest", "--json",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        line = (await within(self.process.stderr.readline())).decode()
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)", line).group(1))
        return self

    async def message(self):
        return json.loads(await within(self.process.stdout.readline()))

    def peak(self):
        """The most memory it had, in bytes."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1)) * 1024

    async def __aexit__(self, *unused):
        self.process.terminate()
        self.left, _ = await within(self.process.communicate())


async def send(url, path, *more):
    """@return exit code, results, standard error"""
    process = await asyncio.create_subprocess_exec(
        f"{BUILD}/parley", "send", "--url", url, "--type", "file", "--json", "--file", path,
        *more, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, err = await process.communicate()
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


class File:
    """A payload that does not repeat, and whatever follows it."""

    def __init__(self, size, end=""):
        words = "".join(hashlib.sha256(str(n).encode()).hexdigest()
                        for n in range(size // 64 + 1))
        self.text = ('{"text":"' + words[:size - 11] + '"}').encode()
        self.end = end.encode()

    def __enter__(self):
        self.file = tempfile.NamedTemporaryFile()
        self.file.write(self.text + self.end)
        self.file.flush()
        return self

    def __exit__(self, *unused):
        self.file.close()

    @property
    def path(self):
        return self.file.name

    @property
    def sha256(self):
        return hashlib.sha256(self.text).hexdigest()


async def sent(proxy, listen, file, *more):
    """Sends it, checks that it arrived, whole and once."""
    code, results, err = await send(proxy.url, file.path, *more)
    check(f"exit code ({err})", code, 0)
    check("outcome", [result["outcome"] for result in results], ["delivered"])
    message = await listen.message()
    check("bytes", message["bytes"], len(file.text))
    check("SHA-256", (message["sha256"], results[0]["sha256"]), (file.sha256, file.sha256))
    return results[0]


def both(function):
    for transport, flags in (("WebSocket", ("--transport", "ws")),
                             ("HTTP", ("--transport", "http"))):
        def one(flags=flags):
            return function(flags)
        one.__name__ = f"{function.__name__}_{transport}"
        case(*ROW, transport)(one)
    return function


@both
async def a_file_cut_in_the_middle_goes_on_where_it_was(flags):
    with File(SIZE) as file:
        async with Listen() as listen, Proxy(listen.port, [SIZE // 2]) as proxy:
            await sent(proxy, listen, file, *flags)
            check("cuts left", proxy.cuts, [])
            bound(2, "connections", proxy.connections, 3)
            # base64 makes four bytes of three; HTTP and the envelopes add a little
            bound(SIZE * 4 // 3, "bytes", proxy.up, SIZE * 4 // 3 * 1.02 + WINDOW)
        check("handled again", listen.left, b"")


def keeps_freed_memory():
    """AddressSanitizer does, for a while."""
    with open(f"{BUILD}/parley", "rb") as program:
        return b"__asan_init" in program.read()


@both
async def memory_is_bounded(flags):
    with File(MIB // 2) as small, File(SIZE) as file:
        async with Listen() as listen, Proxy(listen.port) as proxy:
            await sent(proxy, listen, small, *flags)
            base = listen.peak()
            await sent(proxy, listen, file, *flags)
            # the pieces, and the whole that they are joined to
            if not keeps_freed_memory():
                bound(0, "memory taken", listen.peak() - base, 2 * SIZE + 8 * MIB)


@case(*ROW, "both")
async def cuts_on_any_transport():
    with File(SIZE) as file:
        cuts = [SIZE // 5 * n for n in range(1, 6)]
        async with Listen() as listen, Proxy(listen.port, cuts) as proxy:
            await sent(proxy, listen, file, "--set",
                       "transport.websocket.reconnect_min_ms=20")
            check("cuts left", proxy.cuts, [])
            bound(0, "bytes", proxy.up, SIZE * 4 // 3 * 1.02 + 5 * WINDOW)
        check("handled again", listen.left, b"")


@case(*ROW, "HTTP")
async def out_of_time_says_how_far_it_was():
    with File(SIZE) as file:
        async with Listen() as listen, Proxy(listen.port, held=SIZE // 2) as proxy:
            code, results, err = await send(proxy.url, file.path, "--transport", "http",
                                            "--ttl-ms", "2000")
            check("exit code", code, 5)
            check("outcome", [result["outcome"] for result in results], ["expired"])
            told = re.search(r"message 1: ([0-9.]+) of ([0-9.]+) MiB were acknowledged when "
                             r"its time was up; --ttl-ms", err)
            if told is None:
                raise Failed(f"nothing about --ttl-ms in: {err}")
            bound(0, "acknowledged", float(told[1]), SIZE / MIB / 2)
        check("handled", listen.left, b"")


@case(*ROW, "WebSocket")
async def a_newline_at_the_end_does_not_count():
    limit = ("--set", f"limits.transfer_bytes_max={2 * MIB}")
    with File(2 * MIB, "\n") as longest, File(2 * MIB + 1) as longer:
        async with Listen() as listen, Proxy(listen.port) as proxy:
            await sent(proxy, listen, longest, "--transport", "ws", *limit)
            code, results, err = await send(proxy.url, longer.path, *limit)
            check("longer", (code, results), (2, []))
            check("says why", f"limits.transfer_bytes_max ({2 * MIB} bytes)" in err, True)


play()
