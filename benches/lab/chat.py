"""The messages of the experiments with WebSockets: numbered, checked, of mixed sizes, plain, compressed or in fragments.

Shared by the server and the clients, which are processes of their own. Both sides know from the number in the query
what a connection does: `?id=17` is plain, every eighth is compressed, another eighth sends fragments.
"""
import asyncio
import binascii
import json
import os
import random
import struct
import sys

HEAD = struct.Struct(">cII")  # kind, number, checksum of the content
SAID, ECHO, PUSHED, SEEN = b"c", b"e", b"s", b"a"  # by the client; back again; by the server of itself; back again
SIZES = [10] * 6 + [125, 126] * 3 + [1000] * 4 + [4096] * 2 + [16384, 65535, 65536, 30000]  # of whole messages
# Half of it does not let itself be compressed.
POOL = os.urandom(1 << 17) + b"pointsman moves traffic between versions of a service. " * 2400


def is_compressed(number):
    return number % 8 == 3


def is_fragmented(number):
    return number % 8 == 5


def content(size):
    start = random.randrange(len(POOL) - size)
    return POOL[start:start + size]


def packed(kind, number, body):
    """A message; every fourth is text."""
    message = HEAD.pack(kind, number, binascii.crc32(body)) + body
    return message.hex() if number % 4 == 1 else message


def unpacked(message):
    """Kind, number and content of a message, whose checksum is right."""
    message = bytes.fromhex(message) if isinstance(message, str) else message
    kind, number, checksum = HEAD.unpack_from(message)
    body = message[HEAD.size:]
    if binascii.crc32(body) != checksum:
        raise ValueError(f"message {number} of {len(message)} bytes is not what was sent")
    return kind, number, body


def new(kind, number):
    """A message of some size; text has half as much content."""
    size = max(1, random.choice(SIZES) - HEAD.size)
    return packed(kind, number, content(size // 2 + 1 if number % 4 == 1 else size))


async def pieces(message):
    """A message in three fragments, which leave time for something between them."""
    third = len(message) // 3 + 1
    for start in range(0, len(message), third):
        yield message[start:start + third]
        await asyncio.sleep(0.02)


async def say(connection, number, message):
    """Sends a message in the way of the connection with this number."""
    await connection.send(pieces(message) if is_fragmented(number) and len(message) > 100 else message)


def close_of(closed):
    """How a connection has ended: the code that came, the code that was sent, whether it was in this order, and why
    else it broke."""
    cause = closed.__cause__
    return {"received": closed.rcvd.code if closed.rcvd else 1006, "sent": closed.sent.code if closed.sent else 1006,
            "answered": bool(closed.rcvd_then_sent), "why": f"{type(cause).__name__}: {cause}" if cause else ""}


async def commands(obey):
    """Obeys what is written to us, line by line; `obey` gives the answer, a line of JSON."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        name, *arguments = line.decode().split()
        print(json.dumps(await obey(name, *map(float, arguments))), flush=True)
