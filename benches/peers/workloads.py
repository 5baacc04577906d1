"""What is measured: each workload with its load, its rounds and the figure that counts.

A figure is less is better, and taken from one row: processor time a request or a megabyte, a latency, bytes a client.
"""
import dataclasses
import typing

from . import loads

SECONDS = 2      # wrk knows whole seconds only
SHORT = 1.5
HANDSHAKE_BATCHES, H2_REQUESTS = 30, 30_000
FULL = ("pointsman", "nginx", "haproxy")
FIXED_PART = 0.6  # of nginx' peak


def each(row):
    """Processor time a request, in microseconds."""
    return row["processor_us"] / row["requests"]


def megabyte(row):
    """Processor time a megabyte, in microseconds; so 1e6 / this are the megabytes a processor second moves."""
    return row["processor_us"] / (row["bytes"] / 1e6)


@dataclasses.dataclass(frozen=True)
class Workload:
    """One row of the summary."""
    title: str
    run: typing.Callable  # of (subject, seconds' factor, offered rate)
    figure: typing.Callable
    unit: str
    rounds: int = 5       # of pointsman, nginx, HAProxy
    extra: int = 3        # of Envoy and Caddy: the first rounds
    variants: bool = False


def keep_alive(connections, secure=False):
    return lambda subject, part, _: loads.wrk(subject.url(secure=secure), SECONDS * part, connections)


def body(path, size, connections, up):
    return lambda subject, part, _: loads.bodies(subject.port, path, size, SHORT * part, connections, up)


def handshakes(subject, part, _):
    return loads.handshakes(subject.url(secure=True), round(HANDSHAKE_BATCHES * part))


def http2(subject, part, _):
    return loads.h2load(subject.url(secure=True), round(H2_REQUESTS * part), 1, 100)


MEGA = 1 << 20
US, MB = "µs a request", "µs a megabyte"
WORKLOADS = {
    "get-1": Workload("small GET, 1 connection", keep_alive(1), each, US),
    "get-64": Workload("small GET, 64 connections", keep_alive(64), each, US, rounds=9, extra=9),
    "get-1000": Workload("small GET, 1,000 connections", keep_alive(1000), each, US),
    "close": Workload("a new connection for each GET", lambda subject, part, _: loads.wrk(
        subject.url(), SECONDS * part, 64, "-H", "Connection: close"), each, US),
    "down-1m": Workload("1 MiB down", body("/bodies/1m", MEGA, 8, False), megabyte, MB, variants=True),
    "down-10m": Workload("10 MiB down", body("/bodies/10m", 10 * MEGA, 4, False), megabyte, MB, variants=True),
    "up-1m": Workload("1 MiB up", body("/sink", MEGA, 8, True), megabyte, MB, variants=True),
    "up-10m": Workload("10 MiB up", body("/sink", 10 * MEGA, 4, True), megabyte, MB, variants=True),
    "tls": Workload("small GET over TLS, 64 connections", keep_alive(64, secure=True), each, US),
    "handshakes": Workload("TLS handshake and one GET", handshakes, each, US),
    "h2": Workload("HTTP/2 over TLS, 100 streams, to HTTP/1.1", http2, each, US),
    "websocket": Workload("WebSocket message there and back, 64 tunnels",
                          lambda subject, part, _: loads.messages(subject.port, SHORT * part, 64), each, "µs a message"),
    "latency": Workload("p99 at a fixed rate", lambda subject, part, rate: loads.fixed_rate(subject.port, SECONDS * part, 64, rate),
                        lambda row: row["p99_us"], "µs"),
}
IDLE = {
    "idle-plain": "idle keep-alive connection",
    "idle-tls": "idle TLS connection",
    "idle-tunnel": "idle WebSocket tunnel",
}
IDLE_ROUNDS = 2
CALLS = "syscalls"
NAMES = [*WORKLOADS, *IDLE, CALLS]


def figure(row):
    """The figure of any row."""
    if row["workload"] in IDLE:
        return (row["pss_bytes"] - row["pss_before"]) / row["requests"]
    if row["workload"] == CALLS:
        return row["syscalls"] / row["requests"]
    return WORKLOADS[row["workload"]].figure(row)
