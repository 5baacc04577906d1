"""The comparison is of equals: checked on every run before anything is measured.

Through each subject the upstream gets the same: HTTP/1.1, the client's cookie and host, who the client was, and the
next request over the same upstream connection.
"""
import contextlib
import ipaddress
import socket

from . import idle, wire


def head(sock):
    """What arrives at the upstream of a request over this connection."""
    request, *_ = idle.exchange(sock, "/sink/head").split(b"\r\n", 1)
    return request, wire.fields(idle.exchange(sock, "/sink/head"))


def problems(subject, secure):
    """What is not as it should be."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", subject.tls if secure else subject.port), 10)) as plain:
        sock = idle.context().wrap_socket(plain) if secure else plain
        request, fields = head(sock)
        _, later = head(sock)
        cipher = sock.version() if secure else None
    wanted = {"host": "127.0.0.1", "cookie": wire.COOKIE, "x-forwarded-proto": "https" if secure else "http", "x-forwarded-host": "127.0.0.1",
              "port": later["port"]}
    found = [f"{name} is {fields.get(name)!r}, not {value!r}" for name, value in wanted.items() if fields.get(name) != value]
    try:  # one address; of a client on loopback, Envoy names the machine's own
        ipaddress.ip_address(fields.get("x-forwarded-for", ""))
    except ValueError as error:
        found.append(f"x-forwarded-for: {error}")
    if not request.endswith(b" HTTP/1.1"):
        found.append(f"the request line is {request!r}")
    if fields.get("connection", "keep-alive").lower() not in ("", "keep-alive"):
        found.append(f"connection is {fields['connection']!r}")
    if secure and cipher != "TLSv1.3":
        found.append(f"it speaks {cipher}")
    return found


def check(running):
    """Ends the run where a subject does something else than the others."""
    for subject in running.values():
        for secure in (False, True):
            if found := problems(subject, secure):
                raise RuntimeError(f"{subject.name} ({'TLS' if secure else 'plain'}) is not configured like the others: {'; '.join(found)}")
