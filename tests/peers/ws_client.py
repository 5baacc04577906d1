#!/usr/bin/env python3
"""A WebSocket client of another maker: sends messages, checks each echo, prints one line of JSON.

{"echoed": N, "group": handshake's x-upstream, "seconds": S, "closed": code or null, "reason": text, "error": text or null}
Text and binary take turns; sizes are gone through in order. With --hold it says {"ready": true, "group": …} after
the messages and then stays, sending one message a --hold-every, until the server closes or the seconds are over.
With --stream it does not wait for one echo before it sends the next message. --plain: without permessage-deflate.
Exit code 1 where an echo differs or the connection breaks without a Close frame.
"""
import argparse
import asyncio
import json
import os
import sys
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--messages", type=int, default=10)
    parser.add_argument("--sizes", default="0,1,125,126,4096,65535,65536")
    parser.add_argument("--header", action="append", default=[], help="name: value")
    parser.add_argument("--hold", type=float, default=0.0, help="seconds to stay afterwards")
    parser.add_argument("--hold-every", type=float, default=0.2)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--plain", action="store_true")
    return parser.parse_args()


def message(number, size):
    content = os.urandom(size)
    return content if number % 2 else content.hex()[:size]


async def echo(connection, sent):
    await connection.send(sent)
    received = await asyncio.wait_for(connection.recv(), 20)
    if received != sent:
        raise ValueError(f"sent {type(sent).__name__} of {len(sent)}, received {type(received).__name__} of {len(received)}")


async def stream(connection, options, result):
    """Sends without end, and checks what comes back meanwhile."""
    sent = asyncio.Queue()

    async def talk():
        for number in range(1_000_000_000):
            content = message(number, (number * 37) % 5000)
            sent.put_nowait(content)
            await connection.send(content)
            await asyncio.sleep(options.hold_every)

    async def listen():
        while True:
            received, expected = await connection.recv(), await sent.get()
            if received != expected:
                raise ValueError(f"sent {len(expected)}, received {len(received)}")
            result["echoed"] += 1

    tasks = [asyncio.create_task(talk()), asyncio.create_task(listen())]
    try:
        done, _ = await asyncio.wait(tasks, timeout=options.hold, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def converse(options, result):
    sizes = [int(size) for size in options.sizes.split(",")]
    headers = [tuple(part.strip() for part in header.split(":", 1)) for header in options.header]
    async with connect(options.url, additional_headers=headers, max_size=None, ping_interval=None, proxy=None,
                       compression=None if options.plain else "deflate") as connection:
        result["group"] = connection.response.headers.get("x-upstream")
        try:
            for number in range(options.messages):
                await echo(connection, message(number, sizes[number % len(sizes)]))
                result["echoed"] += 1
            if options.hold:
                print(json.dumps({"ready": True, "group": result["group"]}), flush=True)
            if options.stream:
                return await stream(connection, options, result)
            until = time.monotonic() + options.hold
            while time.monotonic() < until:
                await echo(connection, message(result["echoed"], 64))
                result["echoed"] += 1
                await asyncio.sleep(options.hold_every)
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                raise
            result["closed"], result["reason"] = closed.rcvd.code, closed.rcvd.reason


def main():
    options = arguments()
    result = {"echoed": 0, "group": None, "seconds": 0.0, "closed": None, "reason": "", "error": None}
    started = time.monotonic()
    try:
        asyncio.run(converse(options, result))
    except (OSError, ValueError, TimeoutError, WebSocketException) as error:
        result["error"] = f"{type(error).__name__}: {error}"
    result["seconds"] = round(time.monotonic() - started, 3)
    print(json.dumps(result), flush=True)
    sys.exit(1 if result["error"] else 0)


main()
