"""Tunnels at the deadline of a drain: thousands of WebSockets with traffic, each told to end, none of them broken.

Both sides are of another maker and check what comes: whole messages in order before the Close, 1012 as its code, and
nothing that breaks the protocol. Meanwhile new clients come; none of them reaches the group that is let go of.
"""
import datetime
import pathlib
import re
import time

from . import programs, results, talkers

CODE = 1012
GRACE = 3      # seconds after the last is told: time for its frame to end and for the answer
EARLY = 0.05   # seconds that the clocks of two processes may differ
FEW = 20       # tunnels that were there and gone before memory is read: code paged in, the first pools made
NEWCOMERS = 20  # a second


class Size:
    """How large the experiment is: seconds and counts."""

    def __init__(self, quick):
        self.tunnels, self.processes = (200, 1) if quick else (8000, 2)
        self.every = 1 if quick else 5      # between two messages of a side
        self.settle = 1 if quick else 5     # before memory is read
        self.talk = 2 if quick else 20      # before the switch
        self.timeout = 2 if quick else 10   # of the drain
        self.spread = 5


def resident(pid):
    """VmRSS in bytes."""
    return 1024 * int(re.search(r"^VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])


def config(blue, green, size):
    groups = ", ".join(f"{name}: {{ upstreams: [{', '.join(map(repr, urls))}] }}" for name, urls in (("blue", blue), ("green", green)))
    return programs.HEAD + f"""services:
  shop:
    groups: {{ {groups} }}
    health: {{ kind: tcp, interval: 1s }}
    drain: {{ timeout: {size.timeout}s, tunnels: {{ close_code: {CODE}, spread: {size.spread}s }} }}
routes: [ {{ match: {{ path: / }}, service: shop }} ]
telemetry: {{ log: warn }}
"""


def seconds_of(text):
    """A moment of the API as seconds since 1970."""
    return datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text).replace("Z", "+00:00")).timestamp()


def drain_until_over(admin, size):
    """Looks at the drain until it has ended; gives its last state and what was open when."""
    looks, until = [], time.monotonic() + size.timeout + size.spread + 30
    while True:
        drain = admin.ask("GET", "/api/v1/services/shop/groups/blue/drain")[1]
        looks.append((time.time(), drain["tunnels"]))
        if drain["state"] != "draining" or time.monotonic() > until:
            return drain, looks
        time.sleep(0.05)


def memory(proxy, clients, size):
    """Memory without tunnels, and with all of them idle."""
    time.sleep(size.settle)
    before = resident(proxy.child.pid)
    opened = clients.open()
    if opened != size.tunnels:
        raise RuntimeError(f"{opened} of {size.tunnels} tunnels have echoed")
    time.sleep(size.settle)
    return before, resident(proxy.child.pid)


def warm(proxy):
    """A few tunnels come and go."""
    with talkers.clients(f"ws://127.0.0.1:{proxy.port}/", FEW, first=20_000_000) as few:
        few.open()
    programs.eventually("they are gone", lambda: proxy.admin().group("blue")["tunnels"] == 0)


def measure(binary, size):
    """The whole course; gives everything that was seen."""
    with talkers.servers("blue", size.processes, size.every) as blue, talkers.servers("green") as green, \
            programs.pointsman(binary, config(blue.urls, green.urls, size)) as proxy:
        warm(proxy)
        admin, seen = proxy.admin(), {}
        with talkers.clients(f"ws://127.0.0.1:{proxy.port}/", size.tunnels, size.processes, size.every) as clients:
            seen["before"], seen["idle"] = memory(proxy, clients, size)
            clients.talk()
            clients.newcomers(NEWCOMERS)
            time.sleep(size.talk)
            seen["busy"] = resident(proxy.child.pid)
            seen["open"] = admin.group("blue")["tunnels"]
            began = time.perf_counter()
            admin.switch("green", drain=True)
            seen["answer_ms"] = 1e3 * (time.perf_counter() - began)
            shaken = blue.handshakes()
            seen["drain"], seen["looks"] = drain_until_over(admin, size)
            seen["clients"], seen["newcomers"] = clients.end(10)
            seen["late"] = blue.handshakes() - shaken
        seen["servers"] = blue.rows()
        seen["events"] = admin.ask("GET", "/api/v1/events?since=0")[1]
        seen["ended"] = re.findall(r'^(pointsman_tunnels_ended_total\{.*group="blue".*)$', admin.ask("GET", "/metrics")[1], re.M)
    return seen


def rows_of(seen):
    """A row for each client, with what its server has seen."""
    deadline = seconds_of(seen["drain"]["deadline"])
    servers = {row["id"]: row for row in seen["servers"]}
    rows = []
    for row in sorted(seen["clients"], key=lambda row: row["id"]):
        server, at = servers.get(row["id"], {}), row["closed_at"]
        rows.append([row["id"], row["group"], row["said"], row["echoed"], row["pushed"], row["bytes"], row["unanswered"],
                     round(at - deadline, 3) if at else "", row.get("received", ""), row.get("sent", ""), row.get("answered", ""),
                     server.get("heard", ""), server.get("received", ""), server.get("sent", ""), server.get("answered", ""),
                     row["wrong"] or row.get("why", ""), server.get("wrong", "") or server.get("why", "")])
    return rows


COLUMNS = ["client", "group", "said", "echoed", "pushed", "bytes", "unanswered", "closed_after_deadline_s", "close_received", "close_sent",
           "answered", "server_heard", "server_close_received", "server_close_sent", "server_answered", "wrong", "server_wrong"]


def verdicts(seen, rows, size):
    """What must be 0, by name."""
    new = seen["newcomers"]
    behind = [row for row in rows if row[7] != "" and row[7] > size.spread + GRACE]
    return {
        f"clients without a clean Close {CODE}": sum(row[8:11] != [CODE, CODE, True] for row in rows),
        f"of these on the server's side: tunnels without a clean Close {CODE}": sum(row[12:15] != [CODE, CODE, True] for row in rows),
        "messages broken, out of order, missing or twice; protocol errors; on either side": sum(bool(row[15] or row[16]) for row in rows),
        "tunnels closed before the deadline": sum(row[7] != "" and row[7] < -EARLY for row in rows),
        f"tunnels open later than the spread and {GRACE} s after it": len(behind) + sum(row[7] == "" for row in rows),
        "tunnels not at blue to begin with": sum(row[1] != "blue" for row in rows),
        "handshakes and requests at blue after the switch was answered": seen["late"],
        "new clients meanwhile that failed": new["failed"],
    }


def run(binary, quick):
    size = Size(quick)
    talkers.raise_limits(2 * size.tunnels + 1000)
    seen = measure(binary, size)
    rows = rows_of(seen)
    zero = verdicts(seen, rows, size)
    drain, new = seen["drain"], seen["newcomers"]
    began, ended, deadline = (seconds_of(drain[key]) if drain[key] else 0 for key in ("started_at", "ended_at", "deadline"))
    closed = [row[7] for row in rows if row[7] != ""]
    kinds = [event["kind"] for event in seen["events"]["events"]] if isinstance(seen["events"], dict) else []
    results.rows("tunnels", COLUMNS, rows)
    results.summary("tunnels", "Thousands of WebSockets at the deadline of a drain", [
        "| | |", "|---|---|",
        f"| tunnels open at the switch; an eighth compressed, an eighth sends fragments | {seen['open']:,} |",
        f"| messages there and back again; of the server's own; bytes to clients | "
        f"{'; '.join(f'{sum(r[column] for r in rows):,}' for column in (3, 4, 5))} |",
        *(f"| {what} | **{count}** |" for what, count in zero.items()),
        f"| of all these, told to end between two fragments of a message, which the library calls a protocol error; clients, servers | "
        f"{sum('fragmented' in str(r[15]) for r in rows)}, {sum('fragmented' in str(r[16]) for r in rows)} |",
        f"| said, and not answered when the Close came | {sum(r[6] for r in rows):,} |",
        f"| new clients meanwhile | {new['good']:,}, {', '.join(f'{n:,} at {g}' for g, n in sorted(new['groups'].items()))} |",
        f"| resident memory before; with all tunnels idle; with traffic | {seen['before'] / 2**20:.1f}; {seen['idle'] / 2**20:.1f}; "
        f"{seen['busy'] / 2**20:.1f} MiB |",
        f"| memory of an idle tunnel | **{(seen['idle'] - seen['before']) / len(rows) / 1024:.2f} KiB** |",
        f"| until the switch was answered | {seen['answer_ms']:.1f} ms |",
        f"| the drain: deadline after; ended after; how | {deadline - began:.1f} s; {ended - began:.1f} s; "
        f"{drain['state']}: {drain['why']} |",
        f"| first and last client closed, after the deadline | {results.first_and_last(closed, 2)} |",
        f"| lines of the audit log | {', '.join(kind for kind in kinds if kind.startswith(('switch', 'drain'))) or 'none'} |",
        f"| metrics | {'; '.join(f'`{line}`' for line in seen['ended'])} |",
        "", f"Both sides are Python's `websockets`. Every message has a number and a checksum; sizes from 10 bytes to 64 KiB, one every "
        f"{size.every} s in each direction. `drain: {{ timeout: {size.timeout}s, tunnels: {{ spread: {size.spread}s }} }}`.",
        *(f"Unexpected: {text}" for text in sorted({str(text) for row in rows for text in row[15:17] if text} | set(new["errors"]))[:10]),
    ], binary, quick)
    return not any(zero.values())
