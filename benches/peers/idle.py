"""Memory of idle clients: keep-alive connections, TLS connections, tunnels, each after one exchange.

The subjects are started anew, so that nothing that was freed after other loads, and is handed out first, hides what a
client costs. They idle all at the same time. Meanwhile a client comes and goes twice a second: what a process gives back
only when it has something to do, it gives back.
"""
import contextlib
import socket
import ssl
import time

from . import clocks, loads, subjects, wire

KINDS = {"idle-plain": 3000, "idle-tls": 1000, "idle-tunnel": 1000}
FIRST = 20  # clients at the first look: code paged in, the first pools made
SETTLE = 5  # seconds of idleness before memory is read


def context():
    """A client's TLS 1.3; the certificate is our own."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode, made.minimum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_3
    return made


def exchange(sock, path="/"):
    """One small request and its whole answer; gives the body."""
    sock.sendall(wire.request("GET", path))
    data = b""
    while b"\r\n\r\n" not in data:
        got = sock.recv(4096)
        if not got:
            raise ConnectionError("closed before the answer")
        data += got
    head, body = data.split(b"\r\n\r\n", 1)
    if wire.status(head) != 200:
        raise ConnectionError(f"status {wire.status(head)}")
    length = int(wire.fields(head)["content-length"])
    while len(body) < length:
        got = sock.recv(length - len(body))
        if not got:
            raise ConnectionError("closed within the answer")
        body += got
    return body


def client(kind, subject, tls):
    """One client after its one exchange."""
    if kind == "idle-tunnel":
        sock = loads.tunnel(subject.port)
        sock.sendall(wire.MESSAGE)
        got = 0
        while got < len(wire.REPLY):
            got += len(sock.recv(len(wire.REPLY) - got))
        return sock
    sock = socket.create_connection(("127.0.0.1", subject.tls if kind == "idle-tls" else subject.port), 20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else the last of the handshake delays the request
    if kind == "idle-tls":
        sock = tls.wrap_socket(sock)
    exchange(sock)
    return sock


def measure(kind, names, binary, behind, certificate, quick):
    """Rows of subject, clients between the two looks, bytes at the first and at the second."""
    count, settle = (KINDS[kind] // 10, 1) if quick else (KINDS[kind], SETTLE)
    tls = context()
    with subjects.all_running(names, binary, behind, certificate) as running, contextlib.ExitStack() as held:
        def look(clients):
            for subject in running.values():
                for _ in range(clients):
                    held.enter_context(contextlib.closing(client(kind, subject, tls)))
            for _ in range(2 * settle):
                time.sleep(0.5)
                for subject in running.values():
                    client(kind, subject, tls).close()
            return {name: clocks.memory(subject.pids())[0] for name, subject in running.items()}

        few, all_of_them = look(FIRST), look(count)
        return [(name, count, few[name], all_of_them[name]) for name in running]
