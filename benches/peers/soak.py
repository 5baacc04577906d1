"""The soak: everything at once through pointsman alone, for minutes, to see whether memory or descriptors leak.

Small requests, new connections, TLS, HTTP/2, bodies both ways, WebSockets that open and close, clients that break off,
and reloads through the admin port. Memory and descriptors are sampled all the time; when the load has ended, the pools
get the time that they may take, and the descriptors have to be back where they were.
"""
import csv
import http.client
import random
import socket
import struct
import threading
import time

from lab import results
from . import clocks, idle, loads, subjects, wire

EVERY = 2       # seconds between samples
AFTERWARDS = 100  # seconds that idle connections may live on: the upstreams' pools close theirs after 60
GROWTH = 1.05   # the last third's median memory by the middle third's: more is a leak
COLUMNS = ["seconds", "phase", "rss_bytes", "pss_bytes", "descriptors", "requests", "failed", "tunnels", "broken_off", "reloads"]


class Soak:
    """The loads under way and what they have counted. Each count has one writing thread."""

    def __init__(self, subject):
        self.subject, self.over = subject, threading.Event()
        self.counts = dict.fromkeys(("requests", "failed", "tunnels", "broken_off", "reloads"), 0)
        self.lock, self.errors = threading.Lock(), []
        self.random = random.Random(7)

    def add(self, **values):
        with self.lock:
            for name, value in values.items():
                self.counts[name] += value

    def loop(self, once):
        """Does one thing again and again until the soak is over."""
        def run():
            while not self.over.is_set():
                try:
                    once()
                except Exception as error:  # anything that a load did not expect is a failure of the soak
                    self.errors.append(f"{once.__name__}: {error!r}")
                    self.add(failed=1)
                    self.over.wait(1)
        return threading.Thread(target=run, name=once.__name__, daemon=True)

    def load(self, load):
        self.add(requests=load.requests, failed=load.failed)

    def small(self):
        self.load(loads.wrk(self.subject.url(), 3, 32))
        self.over.wait(1)

    def closing(self):
        self.load(loads.wrk(self.subject.url(), 1, 8, "-H", "Connection: close"))
        self.over.wait(4)

    def secure(self):
        self.load(loads.wrk(self.subject.url(secure=True), 2, 16))
        self.over.wait(2)

    def http2(self):
        self.load(loads.h2load(self.subject.url(secure=True), 5000, 2, 50))
        self.over.wait(2)

    def handshakes(self):
        """Whole ones, then some that resume."""
        self.load(loads.handshakes(self.subject.url(secure=True), 2))
        self.load(loads.h2load(self.subject.url(secure=True), 200, 8, 1, "--h1", "-H", "Connection: close"))
        self.over.wait(2)

    def down(self):
        self.load(loads.bodies(self.subject.port, "/bodies/1m", 1 << 20, 0.5, 4, False))
        self.over.wait(2)

    def up(self):
        self.load(loads.bodies(self.subject.port, "/sink", 1 << 20, 0.5, 4, True))
        self.over.wait(2)

    def websockets(self):
        """Tunnels that open, talk and end: half of them with a close frame, half by vanishing."""
        socks = [loads.tunnel(self.subject.port) for _ in range(20)]
        for number, sock in enumerate(socks):
            sock.sendall(wire.MESSAGE)
            sock.recv(len(wire.REPLY))
            if number % 2:
                sock.sendall(wire.CLOSE)
            sock.close()
        self.add(tunnels=len(socks))
        self.over.wait(0.5)

    def break_off(self):
        """Clients that leave where it hurts: within a head, within a body up or down, within TLS; by FIN or by RST."""
        half = wire.request("GET", "/")[:30]
        upload = wire.request("POST", "/sink", "Content-Length: 1000000") + bytes(70_000)
        for port, data in ((self.subject.port, half), (self.subject.port, upload), (self.subject.port, wire.request("GET", "/bodies/10m")),
                           (self.subject.tls, b"\x16\x03\x01\x02\x00\x01")):
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                sock.sendall(data)
                time.sleep(0.01)
                if self.random.random() < 0.5:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with socket.create_connection(("127.0.0.1", self.subject.tls), 10) as sock:
            with idle.context().wrap_socket(sock) as tls:
                tls.sendall(half)
        self.add(broken_off=5)
        self.over.wait(0.2)

    def reload(self):
        """The file with another value, and told to be read again."""
        file = next(file for file in self.subject.path.iterdir() if file.suffix == ".yaml")
        text = file.read_text().split("# reload")[0].replace("interval: 5s", "interval: 4s")
        if self.counts["reloads"] % 2:
            text = text.replace("interval: 4s", "interval: 5s")
        new = file.with_suffix(".new")
        new.write_text(f"{text}# reload {self.counts['reloads']}\n")
        new.rename(file)
        admin = http.client.HTTPConnection("127.0.0.1", self.subject.asked.admin, timeout=20)
        admin.request("POST", "/api/v1/config/reload", "{}", {"Content-Type": "application/json"})
        status = admin.getresponse().status
        admin.close()
        if status != 200:
            raise RuntimeError(f"a reload was answered with {status}")
        self.add(reloads=1)
        self.over.wait(5)

    def all(self):
        return (self.small, self.closing, self.secure, self.http2, self.handshakes, self.down, self.up, self.websockets, self.break_off,
                self.reload)


def sample(soak, started, phase, rows):
    pid = soak.subject.child.pid
    pss, rss = clocks.memory([pid])
    row = {"seconds": round(time.monotonic() - started, 1), "phase": phase, "rss_bytes": rss, "pss_bytes": pss,
           "descriptors": clocks.descriptors(pid), **soak.counts}
    rows.append(row)
    return row


def measure(minutes, subject):
    """Samples before, during and after."""
    soak, rows, started = Soak(subject), [], time.monotonic()
    for _ in range(5):
        sample(soak, started, "before", rows)
        time.sleep(0.5)
    least = max(row["descriptors"] for row in rows)
    threads = [soak.loop(once) for once in soak.all()]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        row = sample(soak, started, "load", rows)
        print(f"{row['seconds']:7.0f} s  {row['rss_bytes'] / 2**20:7.1f} MiB  {row['descriptors']:5} descriptors  {row['requests']:9} requests  "
              f"{row['failed']} failed", flush=True)
        time.sleep(EVERY)
    soak.over.set()
    for thread in threads:
        thread.join(30)
    until = time.monotonic() + AFTERWARDS
    while sample(soak, started, "after", rows)["descriptors"] > least and time.monotonic() < until:
        time.sleep(EVERY)
    return soak, rows, least


def page(minutes, soak, rows, least):
    """What came of it, and whether it is as it should be."""
    during = [row for row in rows if row["phase"] == "load"]
    third = max(1, len(during) // 3)
    middle, last = (results.median([row["rss_bytes"] for row in part]) for part in (during[third:2 * third], during[-third:]))
    counts, after = soak.counts, rows[-1]["descriptors"]
    verdicts = [counts["failed"] == 0, last <= GROWTH * middle, after <= least]
    word = ["no", "yes"]
    return all(verdicts), [
        f"# {minutes:g} minutes of everything at once", "", "| | | as it should be |", "|---|---|---|",
        f"| requests | {counts['requests']:,} | |", f"| failed | **{counts['failed']}** | {word[verdicts[0]]} |",
        f"| WebSockets opened and closed; clients broken off; reloads | {counts['tunnels']:,}; {counts['broken_off']:,}; {counts['reloads']:,} | |",
        f"| resident memory, median of the middle third | {middle / 2**20:.1f} MiB | |",
        f"| of the last third | **{last / 2**20:.1f} MiB** ({100 * (last / middle - 1):+.1f} %) | {word[verdicts[1]]} |",
        f"| resident memory before; largest; afterwards | {rows[0]['rss_bytes'] / 2**20:.1f}; "
        f"{max(row['rss_bytes'] for row in during) / 2**20:.1f}; {rows[-1]['rss_bytes'] / 2**20:.1f} MiB | |",
        f"| descriptors before; most; afterwards | {least}; {max(row['descriptors'] for row in during)}; **{after}** | {word[verdicts[2]]} |",
        "", f"Flat: the last third at most {100 * (GROWTH - 1):.0f} % above the middle one; the first one is warm-up. Raw rows: `peers-soak.csv`. "
        "Again: `benches/peers/run --soak 10`.", *(f"Unexpected: {error}" for error in soak.errors[:20])]


def run(minutes, binary, behind, certificate, out):
    """0 where nothing leaked and nothing failed."""
    with subjects.running("pointsman", binary, behind, certificate) as subject:
        soak, rows, least = measure(minutes, subject)
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "peers-soak.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    good, lines = page(minutes, soak, rows, least)
    (out / "peers-soak.md").write_text("\n".join(lines) + "\n")
    print(*lines, sep="\n", flush=True)
    return 0 if good else 1
