"""How long a switch takes while the data plane has more to do than it can."""
import time

from . import programs, results

CONNECTIONS = 256


def run(binary, quick):
    count = 20 if quick else 1000
    with programs.nginx(programs.small_get("blue")) as blue, programs.nginx(programs.small_get("green")) as green, \
            programs.pointsman(binary, programs.blue_green(blue.url, green.url)) as proxy:
        admin, rows = proxy.admin(), []
        with programs.wrk_running(proxy.url, CONNECTIONS) as load:
            for number in range(1, count + 1):
                to = "green" if number % 2 else "blue"
                started = time.perf_counter()
                receipt = admin.switch(to)
                taken = 1e3 * (time.perf_counter() - started)
                if not receipt["changed"]:
                    raise RuntimeError(f"switch {number} changed nothing: {receipt}")
                rows.append([number, to, receipt["version"], round(taken, 3)])
        load = load[0]
    results.rows("switch", ["switch", "to", "version", "answer_ms"], rows)
    taken = [row[3] for row in rows]
    results.summary("switch", "A thousand switches under full load", [
        "| until the answer, seen by the caller | ms |", "|---|---|",
        f"| p50 | **{results.quantile(taken, 0.5):.2f}** |", f"| p99 | **{results.quantile(taken, 0.99):.2f}** |",
        f"| largest | {max(taken):.2f} |", "",
        f"{count} switches, one after another, each durable before its answer, during {load.requests:,} requests over {CONNECTIONS} "
        f"keep-alive connections that never pause; {load.failed} of those failed.",
    ], binary, quick)
    return load.failed == 0
