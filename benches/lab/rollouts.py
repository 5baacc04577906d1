"""Rollouts through the proxy, with candidates that are dead, fail, are slow, or are as good as the old version.

The load is a closed loop of 64 connections with a pause, about 2,000 requests a second, each request a new user's. What
the candidate was sent and what failed there is counted by the proxy (`pointsman_attempts_counted_total`), what users saw
by the load. Times are those of the rollout's own timeline, from the candidate's first share to the rollback.
"""
import datetime
import os
import re
import signal
import time

from . import native, programs, results

CONNECTIONS, PAUSE_US = 64, 32_000
SHARE = 10
PLAN = {"steps": [{"share": SHARE, "hold": "1h"}, {"share": 100}], "guards": {"error_rate": {"above": "5%"}}}


def small(name, failing=0):
    """A server block; so many per cent of its answers are 500."""
    fails = "if ($fails) { return 500 '0'; }" if failing else ""
    lines = f'split_clients "$request_id" $fails {{ {failing}% 1; * ""; }}' if failing else ""
    server = f"keepalive_requests 1000000000; default_type text/plain; location / {{ {fails} return 200 '0'; }}"
    return {"server": server, "http_lines": lines}


def slow(ms):
    return lambda: native.counter(ms, "/")


def serves(failing=0):
    return lambda: programs.nginx(**small("x", failing))


# Name, blue, green (none: nobody listens there), what the plan has in place of the usual, whether it is to be taken back, retries of users' requests.
SCENARIOS = [
    ("dead", serves(), None, {}, True, True),
    ("30 % of the answers are 500", serves(), serves(30), {}, True, False),
    ("10 % of the answers are 500", serves(), serves(10), {}, True, False),
    ("p95 doubled: 20 ms for 10 ms", slow(10), slow(20), {"guards": {"latency_p95": {"above_baseline": "50%"}}}, True, False),
    ("as good", serves(), serves(), {"steps": [{"share": s, "hold": "1s"} for s in (10, 50, 100)], "bake": "1s"}, False, False),
    ("as good, both at 8 %", serves(8), serves(8), {"steps": [{"share": s, "hold": "1s"} for s in (10, 50, 100)], "bake": "1s",
                                                   "undecided": {"after": "1s", "do": "advance"}}, False, False),
]


def config(blue, green, retries):
    line = "" if retries else "retries: { attempts: 0 }"
    text = programs.blue_green(blue.url, green.url, service=line)
    # Nobody but users finds out what is wrong with a candidate.
    return text.replace("health: { kind: tcp, interval: 1s }", "health: { kind: tcp, interval: 1h, timeout: 1s }")


def counted(admin, group):
    text = admin.ask("GET", "/metrics")[1]
    found = dict(re.findall(r'pointsman_attempts_counted_total\{service="shop",group="%s",outcome="(\w+)"\} (\d+)' % group, text))
    return int(found.get("ok", 0)), int(found.get("failed", 0))


def moment(text):
    return datetime.datetime.fromisoformat(text)


def last(admin):
    return admin.ask("GET", "/api/v1/services/shop/rollouts?limit=1")[1]["rollouts"][0]


def ended(admin):
    rollout = last(admin)
    return rollout if rollout["state"] in ("done", "rolled_back", "failed") else None


def one(binary, scenario, number):
    """One rollout from its begin to its end; gives its row."""
    name, blue, green, plan, _, retries = scenario
    with blue() as blue, (green or serves())() as candidate, \
            programs.pointsman(binary, config(blue, candidate, retries)) as proxy, \
            native.steady(proxy.port, "keep", CONNECTIONS, PAUSE_US) as load:
        admin = proxy.admin()
        programs.eventually("the load is in its stride", lambda: load.answered() > 1000)
        if green is None:
            worker = candidate.worker()
            candidate.child.kill()
            os.kill(worker, signal.SIGKILL)
            programs.eventually("nobody listens", lambda: not programs.accepts(candidate.port))
        status, begun = admin.ask("POST", "/api/v1/services/shop/rollouts", {"to": "green", **PLAN, **plan})
        if status != 201:
            raise RuntimeError(f"the rollout was refused with {status}: {begun}")
        rollout = programs.eventually("the rollout is over", lambda: ended(admin), within=120)
        # What was under way at the end is counted as well.
        time.sleep(0.3)
        well, badly = counted(admin, "green")
        figures = load.stop()
    shifts = [e for e in rollout["timeline"] if e["state"] == "shifting"]
    took = (moment(rollout["timeline"][-1]["at"]) - moment(shifts[0]["at"])).total_seconds()
    return [name, number, rollout["state"], well + badly, badly, figures["failed"], figures["answered"], round(took, 3),
            rollout["timeline"][-1]["cause"]]


COLUMNS = ["candidate", "run", "state", "attempts_at_candidate", "failed_attempts", "users_failed", "users_answered", "seconds", "cause"]


def run(binary, quick):
    rounds = 2 if quick else 10
    rows = [one(binary, scenario, number) for scenario in SCENARIOS for number in range(rounds)]
    results.rows("rollouts", COLUMNS, rows)
    lines = ["| candidate | runs | taken back | attempts at it: median, most | of these failed: median, most | users that saw a failure | "
             "until the rollback: median, longest |", "|---|---|---|---|---|---|---|"]
    kept = True
    for name, _, green, _, is_bad, _ in SCENARIOS:
        of = [row for row in rows if row[0] == name]
        back = [row for row in of if row[2] == "rolled_back"]
        kept &= len(back) == (len(of) if is_bad else 0)
        if green is None:
            kept &= max(row[4] for row in of) <= 5 and max(row[7] for row in of) < 1 and sum(row[5] for row in of) == 0
        until = results.middle_and_most([row[7] for row in back], 2, "s") if back else "–"
        attempts, failed = ([row[column] for row in of] for column in (3, 4))
        lines.append(f"| {name} | {len(of)} | **{len(back)}** | {results.median(attempts):,.0f}, {max(attempts):,} | "
                     f"{results.median(failed):,.0f}, **{max(failed):,}** | {sum(row[5] for row in of):,} of "
                     f"{sum(row[5] + row[6] for row in of):,} | {until} |")
    results.summary("rollouts", f"Rollouts through the proxy, at a share of {SHARE} %", lines + [
        "", f"About 2,000 requests a second over {CONNECTIONS} connections, so about {2000 * SHARE // 100} a second at the candidate. The limit is 5 % of "
        "errors. Requests are not retried, except where the candidate is dead: what users see there is the point. Wanted for the "
        "dead one: 5 failed attempts at the most, less than a second, and no user who sees any of it.",
    ], binary, quick)
    return kept
