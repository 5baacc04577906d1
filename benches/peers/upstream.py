#!/usr/bin/env python3
"""An upstream of our own: it reads bodies to their end, and answers WebSocket messages. A process of its own.

usage: upstream.py PORT

`POST` anything: the body is read and thrown away, and the answer says how many bytes it had, so that a load can check
that every byte came through. `GET` a path that ends in `/head`: the answer is the head as it arrived here, with the
connection's port, for `fair`. A WebSocket handshake: from then on every message of `wire.MESSAGE` bytes is answered with
one of the same length. One thread: it stands on the load's core and must cost little.
"""
import contextlib
import selectors
import socket
import sys

import wire

LARGE = bytearray(1 << 20)


class Client:
    """A connection: the head that is arriving, the body that is left, or a tunnel."""

    def __init__(self, sock):
        self.sock, self.head, self.left, self.length, self.tunnel, self.odd = sock, b"", 0, 0, False, 0

    def ready(self):
        """Reads once. False at the end of the connection."""
        if self.tunnel:
            return self.messages(self.sock.recv(65536))
        if self.left:
            taken = self.sock.recv_into(LARGE, min(self.left, len(LARGE)), socket.MSG_TRUNC)  # thrown away by the kernel
            self.left -= taken
            if taken and not self.left:
                self.answer()
            return taken > 0
        data = self.sock.recv(65536)
        self.head += data
        if b"\r\n\r\n" in self.head:
            self.begin()
        return bool(data)

    def begin(self):
        """A head is complete."""
        head, rest = self.head.split(b"\r\n\r\n", 1)
        fields = wire.fields(head)
        self.head = b""
        if fields.get("upgrade", "").lower() == "websocket":
            self.tunnel = True
            self.sock.sendall(wire.accepted(fields["sec-websocket-key"]))
            self.messages(rest)
            return
        if "transfer-encoding" in fields:
            self.sock.sendall(b"HTTP/1.1 501 chunks are not read here\r\nContent-Length: 0\r\n\r\n")
            return
        if head.split(None, 2)[1].endswith(b"/head"):
            self.reply(head + b"\r\nport: %d" % self.sock.getpeername()[1])
            return
        self.length = int(fields.get("content-length", 0))
        self.left = self.length - len(rest)
        if not self.left:
            self.answer()

    def answer(self):
        self.reply(str(self.length).encode())

    def reply(self, text):
        self.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))

    def messages(self, data):
        """All messages have the same length: those that are complete are counted and answered."""
        self.odd += len(data)
        whole, self.odd = divmod(self.odd, len(wire.MESSAGE))
        if whole:
            self.sock.sendall(wire.REPLY * whole)
        return bool(data)


def main():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(sock, selectors.EVENT_READ, Client(sock))
                continue
            goes_on = False
            with contextlib.suppress(OSError):
                goes_on = key.data.ready()
            if not goes_on:
                selector.unregister(key.fileobj)
                key.fileobj.close()


if __name__ == "__main__":
    main()
