#!/usr/bin/env python3
"""Many WebSocket clients of the experiments in one process, made with a library of another maker.

usage: chat_clients.py URL FIRST COUNT EVERY

The clients FIRST to FIRST + COUNT. Commands: `open`: connects all, one exchange each; `talk`: each says something about
every EVERY seconds from now on; `exchange`: each says something, and all are waited for; `newcomers RATE`: so many new
clients a second from now on, which say something once and leave; `open_now`: how many are open; `end SECONDS`: waits so
long for all to be closed by the other side, and reports how each has ended.
"""
import asyncio
import logging
import random
import sys
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

import chat

URL, FIRST, COUNT, EVERY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
PATIENCE = 60


def connecting(number):
    compression = "deflate" if chat.is_compressed(number) else None
    return connect(f"{URL}?id={number}", compression=compression, max_size=None, ping_interval=None, open_timeout=PATIENCE, proxy=None)


class Client:
    """One tunnel: what was said, what came back, how it ended."""

    def __init__(self, number):
        self.number, self.connection, self.group = number, None, None
        self.said = self.echoed = self.pushed = self.bytes = 0
        self.outstanding, self.end, self.wrong = [], {}, ""
        self.closed_at, self.echo = None, asyncio.Event()

    async def open(self):
        self.connection = await connecting(self.number)
        self.group = self.connection.response.headers.get("x-upstream")
        self.listening = asyncio.ensure_future(self.listen())

    async def listen(self):
        try:
            while True:
                await self.take(await self.connection.recv())
        except ConnectionClosed as closed:
            self.closed_at, self.end = time.time(), chat.close_of(closed)
        except ValueError as error:
            self.wrong = str(error)
            self.closed_at = time.time()
            await self.connection.close(1007)
        finally:
            self.echo.set()

    async def take(self, message):
        kind, number, body = chat.unpacked(message)
        self.bytes += len(message)
        if kind == chat.ECHO:
            if message != self.outstanding[0]:
                raise ValueError(f"echo {number} is not what was said")
            self.outstanding.pop(0)
            self.echoed += 1
            self.echo.set()
            return
        self.pushed += 1
        if number != self.pushed:
            raise ValueError(f"the server's message {number} where {self.pushed} was due")
        await chat.say(self.connection, self.number, chat.packed(chat.SEEN, number, body[:100]))

    async def say(self):
        """False when the connection is closed."""
        message = chat.new(chat.SAID, self.said + 1)
        _, number, body = chat.unpacked(message)
        self.outstanding.append(chat.packed(chat.ECHO, number, body))
        self.said += 1
        try:
            await chat.say(self.connection, self.number, message)
        except ConnectionClosed:
            return False
        return True

    async def exchange(self):
        """Whether what is said now comes back."""
        if self.closed_at is not None or not await self.say():
            return False
        due = self.said
        async with asyncio.timeout(PATIENCE):
            while self.echoed < due and self.closed_at is None:
                self.echo.clear()
                await self.echo.wait()
        return self.closed_at is None

    async def talk(self):
        await asyncio.sleep(EVERY * random.random())
        while self.closed_at is None and await self.say():
            await asyncio.sleep(EVERY * random.uniform(0.5, 1.5))

    def row(self):
        return {"id": self.number, "group": self.group, "said": self.said, "echoed": self.echoed, "pushed": self.pushed,
                "bytes": self.bytes, "unanswered": len(self.outstanding), "closed_at": self.closed_at, "wrong": self.wrong, **self.end}


class Clients:
    """All of this process."""

    def __init__(self):
        self.all = [Client(number) for number in range(FIRST, FIRST + COUNT)]
        self.newcomers = {"good": 0, "failed": 0, "groups": {}, "errors": []}
        self.tasks, self.coming = set(), None

    def begin(self, work):
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def limited(self, works, at_once=64):
        """All of them, so many at the same time."""
        places = asyncio.Semaphore(at_once)

        async def one(work):
            async with places:
                return await work
        return await asyncio.gather(*(one(work) for work in works))

    async def newcomer(self, number):
        try:
            client = Client(number)
            await client.open()
            good = await client.exchange()
            await client.connection.close()
            await client.listening
            if not good or client.wrong:
                raise ValueError(client.wrong or f"no echo: {client.end}")
            self.newcomers["good"] += 1
            self.newcomers["groups"][client.group] = self.newcomers["groups"].get(client.group, 0) + 1
        except (OSError, ValueError, TimeoutError, WebSocketException) as error:
            self.newcomers["failed"] += 1
            self.newcomers["errors"].append(f"{type(error).__name__}: {error}"[:200])

    async def come(self, rate):
        number = 10_000_000 + FIRST
        while True:
            self.begin(self.newcomer(number))
            number += 1
            await asyncio.sleep(1 / rate)

    async def obey(self, name, *arguments):
        if name == "open":
            await self.limited(client.open() for client in self.all)
            return {"echoed": sum(await self.limited(client.exchange() for client in self.all))}
        if name == "talk":
            for client in self.all:
                self.begin(client.talk())
        if name == "exchange":
            return {"echoed": sum(await self.limited(client.exchange() for client in self.all))}
        if name == "newcomers":
            self.coming = self.begin(self.come(*arguments))
        if name == "end":
            return await self.end(*arguments)
        return {"open": sum(client.closed_at is None for client in self.all)}

    async def end(self, seconds):
        if self.coming:
            self.coming.cancel()
        listening = [client.listening for client in self.all]
        if seconds:
            await asyncio.wait(listening, timeout=seconds)
        if self.tasks:
            await asyncio.wait(set(self.tasks), timeout=5)
        return {"rows": [client.row() for client in self.all], "newcomers": self.newcomers}


async def main():
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    clients = Clients()
    print("{}", flush=True)
    await chat.commands(clients.obey)


asyncio.run(main())
