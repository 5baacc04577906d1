#!/usr/bin/env python3
"""A WebSocket server of another maker: echoes, and names its group in the handshake's x-upstream.

Prints {"port": N} once it listens, and one line for each connection that ends: {"closed": code, "reason": text}.
A plain GET /health is answered 200. SIGTERM ends it.
"""
import argparse
import asyncio
import http
import json
import signal

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--group", default="")
    arguments = arguments.parse_args()

    async def echo(connection):
        try:
            async for message in connection:
                await connection.send(message)
        except ConnectionClosed:
            pass
        print(json.dumps({"closed": connection.close_code, "reason": connection.close_reason}), flush=True)

    def health(connection, request):
        return connection.respond(http.HTTPStatus.OK, "healthy\n") if request.path == "/health" else None

    def name_group(_connection, _request, response):
        response.headers["x-upstream"] = arguments.group

    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    async with serve(echo, "127.0.0.1", arguments.port, process_request=health, process_response=name_group,
                     max_size=None, ping_interval=None) as server:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        await stop


asyncio.run(main())
