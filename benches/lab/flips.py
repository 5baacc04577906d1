"""Once a group is drained it has seen its last request, however often everything goes back and forth under full load.

What reaches an upstream is counted by the upstream itself, in memory that it shares with us. Most flips do not wait for
anything, and so catch drains half done; some wait until the old group is drained, and a little longer.
"""
import time

from . import native, programs, results

EVERY = 0.005  # seconds from the begin of a flip to the begin of the next
PATIENT = 8    # of so many flips two wait until the old group is drained: one there and one back
ENOUGH = 10    # seconds that such a drain may take
LOOK = 0.0005  # seconds between two looks: the admin port goes first on the processors, so looking must not be all that it does
CONNECTIONS = 64


def drained(admin, group, until):
    """Looks at the drain until it has ended or the time is over; gives its last state. Looks once at least."""
    while True:
        status, drain = admin.ask("GET", f"/api/v1/services/shop/groups/{group}/drain")
        if status != 200:
            raise RuntimeError(f"no drain of {group}: {status} {drain}")
        if drain["state"] != "draining" or time.perf_counter() >= until:
            return drain["state"]
        time.sleep(LOOK)


def flip(admin, groups, number, due):
    """One flip and its row; the old group, and its count when it was seen drained, else none."""
    to, old = ("green", "blue") if number % 2 else ("blue", "green")
    patient = number % PATIENT in (1, 2)
    started = time.perf_counter()
    receipt = admin.switch(to, drain=True)
    answered = time.perf_counter()
    state = drained(admin, old, answered + ENOUGH if patient else due + EVERY)
    seen = time.perf_counter()
    count = groups[old].requests() if state == "drained" else None
    row = [number, to, receipt["version"], "patient" if patient else "hasty", round(1e3 * (answered - started), 3),
           round(1e3 * (seen - answered), 3), state]
    return row, old, count


def flips(admin, groups, seconds):
    """Flips without end until the time is over; gives the rows. What a row still lacks is known when its group comes back."""
    rows, before = [], None
    began = due = time.perf_counter()
    while due < began + seconds or len(rows) % 2:
        time.sleep(max(0, due - time.perf_counter()))
        if before:
            finish(before, groups)
        before = flip(admin, groups, len(rows) + 1, due)
        rows.append(before[0])
        quiet = EVERY if before[0][3] == "patient" else 0
        due = max(due + EVERY, time.perf_counter() + quiet)  # what is late is not made up for
    time.sleep(0.5)
    finish(before, groups)
    return rows


def finish(before, groups):
    row, old, count = before
    row.append(groups[old].requests() - count if count is not None else "")


def run(binary, quick):
    seconds = 3 if quick else 60
    with native.counter() as blue, native.counter() as green, \
            programs.pointsman(binary, programs.blue_green(blue.url, green.url)) as proxy:
        groups = {"blue": blue, "green": green}
        with programs.wrk_running(proxy.url, CONNECTIONS) as load:
            rows = flips(proxy.admin(), groups, seconds)
        load, reached = load[0], {name: group.requests() for name, group in groups.items()}
    seen = [row for row in rows if row[6] == "drained"]
    hasty, patient = ([row for row in rows if row[3] == kind] for kind in ("hasty", "patient"))
    late = sum(row[7] for row in seen)
    wrong = [row for row in rows if row[6] != "drained" and (row[3] == "patient" or row[6] != "draining")]
    results.rows("flips", ["flip", "to", "version", "kind", "answer_ms", "looked_for_ms", "state", "late_requests"], rows)
    results.summary("flips", "Back and forth every 5 ms under full load", [
        "| | |", "|---|---|",
        f"| flips: `switch` with `drain`, there and back again | {len(rows):,} in {seconds} s |",
        f"| of these at once, 5 ms after the one before; seen `drained` meanwhile | {len(hasty):,}; "
        f"{sum(r[6] == 'drained' for r in hasty):,} |",
        f"| only when the old group was `drained` | {len(patient):,} |",
        f"| requests on a group from `drained` until it was given traffic again | **{late}** |",
        f"| requests meanwhile, over {CONNECTIONS} keep-alive connections that never pause | {load.requests:,} |",
        f"| failed | **{load.failed}** ({load.bad_status} by status, {load.socket_errors} on the socket) |",
        f"| requests that reached blue, green | {reached['blue']:,}, {reached['green']:,} |",
        f"| until a switch was answered: median, largest | {results.middle_and_most([r[4] for r in rows])} |",
        f"| then until `drained` was seen: median, largest | {results.middle_and_most([r[5] for r in patient])} |",
        f"| drains that ended otherwise, or not at all | **{len(wrong)}** |",
        "", "An upstream counts a request when its first bytes arrive. The count at `drained` is compared with the one directly before the "
        "switch back. A switch is durable before it is answered; where that took longer than 5 ms, the next one came at once.",
    ], binary, quick)
    return late == 0 and load.failed == 0 and not wrong
