"""A switch that holds: new requests wait while those under way finish, then go to the new group. Nobody fails.

The load is an open loop: a request's time runs from when it was due, so that what waits behind the hold counts. Some
requests are slow and always under way; where they take less than the hold it ends as soon as they have, where they take
more it lasts to its end and the switch is made all the same.
"""
import http.client
import threading
import time

from . import native, programs, results, talkers

HOLD = 2.0         # seconds
CATCH_UP = 2.0     # seconds that what was held may need after it was let go: thousands of requests at once, on a busy machine
WRITE = 0.25       # seconds that the switch at its end may take to be durable
KINDS = {"until quiet": 300, "to its end": 3000}  # milliseconds that the slow requests take
SLOW_CLIENTS = 8
BEFORE, AFTER = 1.5, 1.5  # seconds of load around the hold


class Slow:
    """Clients whose requests take long; one after another, until told to stop. They begin at different times, so that
    there is always one that has just begun."""

    def __init__(self, port, slow_ms):
        self.port, self.over, self.apart = port, threading.Event(), slow_ms / 1000 / SLOW_CLIENTS
        self.done = self.failed = 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.ask, args=(number,), daemon=True) for number in range(SLOW_CLIENTS)]

    def ask(self, number):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=programs.PATIENCE)
        self.over.wait(self.apart * number)
        while not self.over.is_set():
            try:
                connection.request("GET", "/slow")
                answer = connection.getresponse()
                answer.read()
                good = answer.status == 200
            except (OSError, http.client.HTTPException):
                good = False
                connection.close()
            with self.lock:
                self.done, self.failed = self.done + good, self.failed + (not good)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(programs.PATIENCE)


def switch(proxy, groups, kind, load_options, to):
    """One switch with a hold under load; gives its row."""
    old = groups["blue" if to == "green" else "green"]
    rate, connections, seconds = load_options
    with Slow(proxy.port, KINDS[kind]) as slow, native.fixed_rate(proxy.port, connections, rate, seconds) as load:
        time.sleep(BEFORE)
        admin = proxy.admin()
        started = time.perf_counter()
        receipt = admin.switch(to, hold=f"{HOLD:g}s")
        answered = time.perf_counter()
        count = old.requests()
        figures = load.end(seconds + programs.PATIENCE)
    late = old.requests() - count
    lost = figures["total"] - figures["answered"] + slow.failed
    held = receipt["hold"]
    return [kind, to, round(1e3 * (answered - started), 1), held["ms"], held["waited"], figures["total"] + slow.done + slow.failed, lost,
            round(figures["p50_us"] / 1e3, 2), round(figures["p99_us"] / 1e3, 2), round(figures["max_us"] / 1e3, 2), late]


COLUMNS = ["kind", "to", "answer_ms", "held_ms", "most_waiting", "requests", "failed", "p50_ms", "p99_ms", "max_ms", "late_requests"]


def run(binary, quick):
    rate, connections, rounds = (500, 1500, 2) if quick else (5000, 4000, 6)
    options = (rate, connections, BEFORE + HOLD + AFTER)
    talkers.raise_limits(3 * connections)
    rows = []
    for kind, slow_ms in KINDS.items():
        with native.counter(slow_ms) as blue, native.counter(slow_ms) as green, \
                programs.pointsman(binary, programs.blue_green(blue.url, green.url, service="hold: { requests: 20000 }")) as proxy:
            for number in range(rounds):
                rows.append(switch(proxy, {"blue": blue, "green": green}, kind, options, "blue" if number % 2 else "green"))
    results.rows("hold", COLUMNS, rows)
    failed, late, worst = sum(row[6] for row in rows), sum(row[10] for row in rows), max(row[9] for row in rows)
    held = all(row[3] >= 900 * HOLD for row in rows if row[0] == "to its end") and max(row[3] for row in rows) <= 1e3 * (HOLD + WRITE)
    lines = ["| | " + " | ".join(f"{kind}: slow requests of {ms} ms" for kind, ms in KINDS.items()) + " |", "|---|---|---|"]
    of = [[row for row in rows if row[0] == kind] for kind in KINDS]

    def line(what, figure):
        lines.append(f"| {what} | " + " | ".join(figure(rows) for rows in of) + " |")

    line("switches", lambda rows: f"{len(rows)}")
    line(f"requests, {rate:,} a second whatever becomes of the ones before", lambda rows: f"{sum(r[5] for r in rows):,}")
    line("failed", lambda rows: f"**{sum(r[6] for r in rows)}**")
    line("requests at the old group after the switch was answered", lambda rows: f"**{sum(r[10] for r in rows)}**")
    line("until the switch was answered: median, largest", lambda rows: results.middle_and_most([r[2] for r in rows], 0))
    line("worst wait of a request, from when it was due: median, largest",
         lambda rows: f"**{results.middle_and_most([r[9] for r in rows], 0)}**")
    line("the hold itself: median, largest", lambda rows: results.middle_and_most([r[3] for r in rows], 0))
    line("most requests held at a time", lambda rows: f"{max(r[4] for r in rows):,}")
    results.summary("hold", f"A switch that holds for {HOLD:g} s at the most", lines + [
        "", f"{SLOW_CLIENTS} clients always have a slow request under way; the others are small, over {connections:,} connections: what is "
        f"due while none is free waits in the client, and its waiting counts. Wanted: nobody fails, and the hold lasts no longer than "
        f"its {HOLD:g} s and the writing of the switch; the rush after it may take {CATCH_UP:g} s.",
    ], binary, quick)
    return failed == 0 and late == 0 and held and worst <= 1e3 * (HOLD + CATCH_UP)
