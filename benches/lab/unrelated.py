"""A reload of something else closes no tunnel: a thousand are open and talk while other routes come, change and go."""
import time

from . import programs, results, talkers


def config(urls, number):
    """Service `shop` with the tunnels, and beside it a route, a service or nothing, each time another."""
    text = programs.blue_green(*urls)
    routes = [f"{{ match: {{ path: /other }}, respond: {{ status: 200, body: \"{number}\" }} }}, ",
              "{ match: { path: /other }, service: other }, ", ""]
    groups = f'{{ a: {{ upstreams: ["{urls[1]}"] }}, b: {{ upstreams: ["{urls[0]}"] }} }}'
    service = f"  other:\n    groups: {groups}\n    health: {{ kind: tcp }}\n"
    kind = number % 3
    return text.replace("routes: [ ", (service if kind == 1 else "") + "routes: [ " + routes[kind], 1)


def reload(proxy, admin, clients, urls, number):
    """One reload and its row; all have to be open and to echo afterwards."""
    proxy.rewrite(config(urls, number))
    started = time.perf_counter()
    status, answer = admin.ask("POST", "/api/v1/config/reload", {})
    taken = 1e3 * (time.perf_counter() - started)
    if status != 200:
        raise RuntimeError(f"reload {number} was answered with {status}: {answer}")
    return [number, round(taken, 3), clients.still_open(), clients.exchange()]


def run(binary, quick):
    tunnels, reloads = (50, 4) if quick else (1000, 20)
    talkers.raise_limits(2 * tunnels + 1000)
    with talkers.servers("blue", every=1) as blue, talkers.servers("green") as green:
        urls = (blue.urls[0], green.urls[0])
        with programs.pointsman(binary, config(urls, 2)) as proxy, \
                talkers.clients(f"ws://127.0.0.1:{proxy.port}/", tunnels) as clients:
            opened = clients.open()
            clients.talk()
            admin = proxy.admin()
            rows = [reload(proxy, admin, clients, urls, number) for number in range(1, reloads + 1)]
            ends, _ = clients.end(0)
    closed = sum(row["closed_at"] is not None for row in ends)
    wrong = sum(bool(row["wrong"]) for row in ends)
    silent = sum(tunnels - row[3] for row in rows)
    results.rows("unrelated", ["reload", "answer_ms", "open", "echoed"], rows)
    results.summary("unrelated", "Reloads of something else, with a thousand tunnels open", [
        "| | |", "|---|---|",
        f"| tunnels open, each with a message a second in both directions | {opened:,} |",
        f"| reloads: a route of its own, a service of its own, neither | {reloads} |",
        f"| tunnels closed | **{closed}** |",
        f"| tunnels that did not echo after a reload | **{silent}** |",
        f"| messages broken, out of order, missing or twice | **{wrong}** |",
        f"| messages there and back again; of the server's own | {sum(row['echoed'] for row in ends):,}; "
        f"{sum(row['pushed'] for row in ends):,} |",
        f"| until a reload was answered: median, largest | {results.middle_and_most([r[1] for r in rows])} |",
    ], binary, quick)
    return opened == tunnels and closed == 0 and wrong == 0 and silent == 0
