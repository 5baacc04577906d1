"""The loads: each runs for a while against one subject and says what came of it.

wrk and h2load where they fit, our own where they do not: large bodies (read without being copied), WebSocket messages,
and a fixed rate (`fixed_rate.c`). All on core 1. Nothing here knows of clocks or of who is being measured.
"""
import contextlib
import dataclasses
import os
import re
import selectors
import socket
import subprocess
import tempfile
import time

from lab import programs, promises
from . import install, wire

PATIENCE = 20  # seconds that a transfer may take beyond its time
HEADERS = ["-H", f"Cookie: {wire.COOKIE}"]
# One cipher and one group for everybody, whatever each would prefer: set on the client's side, where all have to follow.
# h2load has options for it; wrk is told by OpenSSL's own file.
TLS = ["--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"]
OPENSSL = """openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = client
[client]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
"""


@dataclasses.dataclass
class Load:
    """What came of a load."""
    requests: int
    failed: int
    seconds: float
    bytes: int = 0
    p50_us: float = 0
    p99_us: float = 0
    offered: float = 0


@contextlib.contextmanager
def one_cipher():
    """The environment of all clients that are started within."""
    with tempfile.NamedTemporaryFile("w", prefix="peers-openssl-", suffix=".cnf") as file:
        file.write(OPENSSL)
        file.flush()
        os.environ["OPENSSL_CONF"] = file.name
        yield
        del os.environ["OPENSSL_CONF"]


def wrk(url, seconds, connections, *more):
    """Closed loop over HTTP/1.1: every connection asks again when it has its answer."""
    command = [programs.tool("wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", *HEADERS, *more, url]
    result = programs.Wrk(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    taken = re.search(r"requests in ([\d.]+)(m?s)", result.text)
    return Load(result.requests, result.failed, float(taken[1]) / (1000 if taken[2] == "ms" else 1))


def h2load(url, requests, clients, streams, *more):
    """A number of requests, as fast as they come."""
    command = [programs.tool("h2load"), f"-n{requests}", f"-c{clients}", f"-m{streams}", "-t1", *TLS, *HEADERS, *more, url]
    started = time.perf_counter()
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    taken = time.perf_counter() - started
    figures = promises.h2load_figures(text)
    if url.startswith("https") and not ("TLSv1.3" in text and "TLS_AES_128_GCM_SHA256" in text):
        raise RuntimeError(f"not the TLS that was asked for:\n{text}")
    return Load(figures["succeeded"], figures["lost"], taken)


def handshakes(url, batches, at_once=64):
    """New TLS connections with one request each. h2load and wrk resume a session when they connect again, so every
    connection is some client's first: batches of new clients."""
    loads = [h2load(url, at_once, at_once, 1, "--h1", "-H", "Connection: close") for _ in range(batches)]
    return Load(*(sum(getattr(load, name) for load in loads) for name in ("requests", "failed", "seconds")))


class Transfers:
    """Bodies over a few keep-alive connections, closed loop: down (GET) or up (POST)."""

    def __init__(self, port, path, size, connections, up):
        self.size, self.up, self.until = size, up, 0
        self.done = self.failed = 0
        lines = (f"Content-Length: {size}", "Content-Type: application/octet-stream") if up else ()
        self.head = wire.request("POST" if up else "GET", path, *lines)
        self.body = memoryview(bytes(size)) if up else b""
        self.scratch = bytearray(1 << 20)
        self.selector = selectors.DefaultSelector()
        self.socks = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(connections)]
        for sock in self.socks:
            sock.setblocking(False)
            self.selector.register(sock, selectors.EVENT_READ, {})
            self.ask(sock)

    def ask(self, sock):
        sock.send(self.head)
        state = {"head": b"", "left": None, "sent": 0}
        self.selector.modify(sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if self.up else 0), state)

    def write(self, sock, state):
        state["sent"] += sock.send(self.body[state["sent"]:state["sent"] + (1 << 18)])
        if state["sent"] == self.size:
            self.selector.modify(sock, selectors.EVENT_READ, state)

    def read(self, sock, state):
        if state["left"] is None:
            data = sock.recv(65536)
            if not data:
                raise ConnectionError("closed before the head")
            state["head"] += data
            if b"\r\n\r\n" not in state["head"]:
                return
            head, state["body"] = state["head"].split(b"\r\n\r\n", 1)
            if wire.status(head) != 200:
                raise ConnectionError(f"status {wire.status(head)}")
            state["length"] = int(wire.fields(head)["content-length"])
            state["left"] = state["length"] - len(state["body"])
        elif self.up:
            state["body"] += sock.recv(4096)
            state["left"] = state["length"] - len(state["body"])
        else:
            # The kernel throws the bytes away: the load's core is not what is measured.
            taken = sock.recv_into(self.scratch, min(state["left"], len(self.scratch)), socket.MSG_TRUNC)
            if not taken:
                raise ConnectionError("closed within the body")
            state["left"] -= taken
        if not state["left"]:
            right = state["length"] == self.size if not self.up else int(state["body"]) == self.size
            if not right:
                raise ConnectionError("a body of another length")
            self.done += 1
            if time.perf_counter() < self.until:
                self.ask(sock)
            else:
                self.selector.unregister(sock)

    def run(self, seconds):
        """For so long, and then until the last one has ended: none is left half done, and paid for but not counted."""
        started = time.perf_counter()
        self.until = started + seconds
        while self.selector.get_map():
            if time.perf_counter() > self.until + PATIENCE:
                self.failed += len(self.selector.get_map())
                break
            for key, events in self.selector.select(1):
                try:
                    if events & selectors.EVENT_WRITE:
                        self.write(key.fileobj, key.data)
                    if events & selectors.EVENT_READ:
                        self.read(key.fileobj, key.data)
                except BlockingIOError:
                    pass
                except (OSError, ValueError, KeyError):
                    self.failed += 1
                    self.selector.unregister(key.fileobj)
        return time.perf_counter() - started

    def close(self):
        for sock in self.socks:
            sock.close()


def bodies(port, path, size, seconds, connections, up):
    """Whole bodies that went through, checked for their length on the far side."""
    transfers = Transfers(port, path, size, connections, up)
    try:
        taken = transfers.run(seconds)
    finally:
        transfers.close()
    return Load(transfers.done, transfers.failed, taken, bytes=transfers.done * size)


def tunnel(port, path="/ws/echo"):
    """A WebSocket, open."""
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(wire.handshake(path))
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(4096)
        if not data:
            raise ConnectionError("no tunnel: closed")
        head += data
    if wire.status(head) != 101:
        raise ConnectionError(f"no tunnel: {head!r}")
    return sock


def messages(port, seconds, tunnels):
    """One message at a time through each of many tunnels; a message counts when its answer is back."""
    socks = [tunnel(port) for _ in range(tunnels)]
    done, missing, started = 0, 0, time.perf_counter()
    reply = len(wire.REPLY)
    while time.perf_counter() < started + seconds:
        for sock in socks:
            sock.send(wire.MESSAGE)
        for sock in socks:
            got = len(sock.recv(reply))
            while 0 < got < reply:
                got += len(sock.recv(reply - got))
            missing += got != reply
        done += tunnels
        if missing:
            break
    taken = time.perf_counter() - started
    for sock in socks:
        sock.send(wire.CLOSE)
        sock.close()
    return Load(done - missing, missing, taken)


def fixed_rate(port, seconds, connections, rate):
    """Open loop: requests are due at random times of a fixed rate; what is late counts from when it was due."""
    command = [install.fixed_rate(), port, connections, rate, seconds, wire.request("GET", "/").decode()]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the fixed-rate load failed: {done.stderr}")
    found = dict(re.findall(r"(\w+)=([\d.]+)", done.stdout))
    return Load(int(found["answered"]), int(found["failed"]), float(found["seconds"]), p50_us=float(found["p50_us"]),
                p99_us=float(found["p99_us"]), offered=rate)
