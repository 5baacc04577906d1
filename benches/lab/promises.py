"""No request is lost by a switch, and once the old group is seen idle no further request reaches it.

The upstreams close idle connections after 20 ms and used ones after 200 requests, so that the proxy's pooled
connections die under it all the time.
"""
import re
import subprocess
import time

from . import programs, results

DYING = "keepalive_timeout 20ms; keepalive_requests 200;"
SETTLED = 0.95  # the part of the requests during which switches happen


def switches(proxy, groups, requests, count, generator):
    """Switches each time another part of the requests has been made; gives a row for each switch."""
    admin, rows, live, other = proxy.admin(), [], "blue", "green"
    idle_count = None  # requests on the group without a share, as of when it was seen idle
    for number in range(1, count + 1):
        due = int(requests * SETTLED * number / count)

        def reached():
            if generator.poll() is not None:
                raise RuntimeError(f"the load was over before switch {number}")
            time.sleep(0.005)
            return sum(group.requests() for group in groups.values()) >= due

        programs.eventually(f"{due} requests", reached, within=600)
        late = groups[other].requests() - idle_count if idle_count is not None else 0
        started = time.perf_counter()
        receipt = admin.switch(other)
        answered = time.perf_counter()
        live, other = other, live
        programs.eventually(f"{other} is idle", lambda: admin.group(other)["in_flight"] == 0)
        idle = time.perf_counter()
        idle_count = groups[other].requests()
        rows.append([number, live, receipt["version"], round(1e3 * (answered - started), 3), round(1e3 * (idle - answered), 3),
                     due, late])
    generator.wait()
    rows[-1][-1] += groups[other].requests() - idle_count
    return rows


def h2load_figures(text):
    found = re.search(r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
                      text)
    if not found:
        raise RuntimeError(f"h2load failed:\n{text}")
    total, done, succeeded, failed, errored, timeout = map(int, found.groups())
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    rate = re.search(r"finished in [^,]+, ([\d.]+) req/s", text)
    return {"total": total, "done": done, "succeeded": succeeded, "lost": total - succeeded, "5xx": int(codes[4]), "4xx": int(codes[3]),
            "rate": float(rate[1]), "errored": failed + errored + timeout}


def run(binary, quick):
    requests, count = (50_000, 10) if quick else (1_000_000, 100)
    with programs.nginx(programs.small_get("blue", DYING)) as blue, \
            programs.nginx(programs.small_get("green", DYING)) as green, \
            programs.pointsman(binary, programs.blue_green(blue.url, green.url)) as proxy:
        command = [programs.tool("h2load"), "--h1", f"-n{requests}", "-c64", "-t1", proxy.url + "/"]
        with programs.process(command, stdout=subprocess.PIPE, text=True) as generator:
            rows = switches(proxy, {"blue": blue, "green": green}, requests, count, generator)
            figures = h2load_figures(generator.stdout.read())
        reached = {"blue": blue.requests(), "green": green.requests()}
    late = sum(row[-1] for row in rows)
    results.rows("promises", ["switch", "to", "version", "answer_ms", "idle_after_ms", "requests_before", "late_requests"], rows)
    results.summary("promises", "A million requests during a hundred switches", [
        "| | |", "|---|---|",
        f"| requests | {figures['total']:,} over 64 keep-alive connections, {figures['rate']:,.0f} a second |",
        f"| switches | {count} |",
        f"| failed: not answered 2xx, or not at all | **{figures['lost']}** ({figures['4xx']} 4xx, {figures['5xx']} 5xx, "
        f"{figures['errored']} without an answer) |",
        f"| requests on the old group after it was seen idle | **{late}** |",
        f"| requests that reached blue, green | {reached['blue']:,}, {reached['green']:,} |",
        f"| until a switch was answered: median, largest | {results.median([r[3] for r in rows]):.2f} ms, {max(r[3] for r in rows):.2f} ms |",
        f"| then until the old group was seen idle: median, largest | {results.median([r[4] for r in rows]):.2f} ms, "
        f"{max(r[4] for r in rows):.2f} ms |",
        "", "The upstreams (nginx) close connections that are idle for 20 ms and those that had 200 requests. What reached a group is "
        "counted by the upstream itself.",
    ], binary, quick)
    return figures["lost"] == 0 and late == 0
