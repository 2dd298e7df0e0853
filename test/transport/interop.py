# SPDX-License-Identifier: Apache-2.0
"""The other side for test_interop.c: Python's websockets, as client or as server.

interop.py client PORT   talks to an echoing server, prints "ok"
interop.py server        prints its port, echoes one connection until it is closed,
                         prints the close code it got
"""
import asyncio
import sys

import websockets


async def client(port):
    uri = f"ws://127.0.0.1:{port}/ws/v1/peers?session_id=py"
    # The default offers permessage-deflate, which the server has to decline.
    async with websockets.connect(uri, max_size=None) as ws:
        assert not ws.extensions, ws.extensions
        for message in ("hello", "\u20ac" * 1000, b"\0\xff" * 40000, "x" * 1000000, ""):
            await ws.send(message)
            assert await ws.recv() == message
        await ws.send(["in ", "three ", "fragments"])
        assert await ws.recv() == "in three fragments"
        await (await ws.ping(b"still there?"))
        for i in range(500):
            await ws.send(str(i))
        for i in range(500):
            assert await ws.recv() == str(i)
        await ws.close(1000, "done")
        assert ws.close_code == 1000, ws.close_code
    print("ok", flush=True)


async def server():
    done = asyncio.get_running_loop().create_future()

    async def echo(ws, *_):
        try:
            async for message in ws:
                await ws.send(message)
        except websockets.ConnectionClosedError:
            pass  # any code but 1000
        finally:
            await ws.wait_closed()
            done.set_result(ws.close_code)

    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as listening:
        print(listening.sockets[0].getsockname()[1], flush=True)
        print(await done, flush=True)


if sys.argv[1] == "client":
    asyncio.run(asyncio.wait_for(client(int(sys.argv[2])), 20))
else:
    asyncio.run(asyncio.wait_for(server(), 20))
