#!/usr/bin/env python3
"""The WebSocket server of the experiments, made with a library of another maker.

usage: chat_server.py PORT NAME EVERY

Echoes what clients say, and once a client has said something, says something of its own about every EVERY seconds.
Checks that numbers come one after another and checksums are right. Commands: `count`: handshakes so far and tunnels
open; `report`: also how each connection has ended.
"""
import asyncio
import logging
import random
import sys
import urllib.parse

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

import chat

EVERY = float(sys.argv[3])


class Talk:
    """The server's side of one tunnel."""

    def __init__(self, connection, number):
        self.connection, self.number = connection, number
        self.heard = self.pushed = self.seen = 0
        self.wrong, self.pushing = "", None

    async def push(self):
        while True:
            await asyncio.sleep(EVERY * random.uniform(0.5, 1.5))
            await chat.say(self.connection, self.number, chat.new(chat.PUSHED, self.pushed + 1))
            self.pushed += 1

    async def listen(self):
        while True:
            kind, number, body = chat.unpacked(await self.connection.recv())
            if kind == chat.SEEN:
                self.seen += 1
                expected = self.seen
            else:
                self.heard += 1
                expected = self.heard
                await chat.say(self.connection, self.number, chat.packed(chat.ECHO, number, body))
                if EVERY and not self.pushing:
                    self.pushing = asyncio.ensure_future(self.push())
                    self.pushing.add_done_callback(lambda task: task.cancelled() or task.exception())
            if number != expected:
                raise ValueError(f"{kind} {number} where {expected} was due")

    async def until_closed(self):
        """Its row."""
        end = {}
        try:
            await self.listen()
        except ConnectionClosed as closed:
            end = chat.close_of(closed)
        except ValueError as error:
            self.wrong = str(error)
        finally:
            if self.pushing:
                self.pushing.cancel()
        return {"id": self.number, "heard": self.heard, "pushed": self.pushed, "seen": self.seen, "wrong": self.wrong, **end}


async def main():
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # health checks that only connect are no news
    state = {"handshakes": 0, "open": 0}
    rows = []

    def greet(connection, _request):
        state["handshakes"] += 1

    def name_group(_connection, _request, response):
        response.headers["x-upstream"] = sys.argv[2]

    async def talk(connection):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(connection.request.path).query)
        state["open"] += 1
        rows.append(await Talk(connection, int(query["id"][0])).until_closed())
        state["open"] -= 1

    async def obey(name):
        return {**state, "rows": rows} if name == "report" else state

    async with serve(talk, "127.0.0.1", int(sys.argv[1]), process_request=greet, process_response=name_group, max_size=None,
                     ping_interval=None, open_timeout=60, backlog=4096):
        print("{}", flush=True)
        await chat.commands(obey)


asyncio.run(main())
