"""Reloads lose nothing: good ones take effect, broken ones change nothing, tunnels stay open through all of them."""
import json
import subprocess
import time
import urllib.request

from . import programs, results

TUNNELS = 20
STAY = 3600


def config(blue, green, chat, release):
    text = programs.blue_green(blue, green).replace(
        "routes: [ ", f'  chat:\n    groups: {{ blue: {{ upstreams: ["{chat}"] }}, green: {{ upstreams: ["{chat}"] }} }}\n'
        "    health: { kind: tcp, interval: 1s }\nroutes: [ { match: { path: /ws }, service: chat }, ")
    return text.replace(f'["{blue}"] }}', f'["{blue}"], headers: {{ x-release: "{release}" }} }}', 1)


def release_seen(proxy):
    with urllib.request.urlopen(proxy.url + "/release", timeout=programs.PATIENCE) as answer:
        return answer.read().decode().strip()


def reload(admin, proxy, number, good, urls):
    """One reload; gives its row: whether it was accepted, how long it took, which release answers now."""
    text = config(*urls, number)
    proxy.rewrite(text if good else text.replace("services:", "servcies:", 1))
    started = time.perf_counter()
    status, _ = admin.ask("POST", "/api/v1/config/reload", {})
    taken = 1e3 * (time.perf_counter() - started)
    return [number, "good" if good else "broken", status, round(taken, 3), release_seen(proxy)]


def tunnel(proxy):
    command = [programs.peers_python(), programs.ROOT / "tests/peers/ws_client.py", f"ws://127.0.0.1:{proxy.port}/ws",
               "--hold", STAY, "--hold-every", 0.1]
    child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    ready = json.loads(child.stdout.readline() or "{}")
    if not ready.get("ready"):
        child.kill()
        raise RuntimeError(f"no tunnel through the proxy: {ready}")
    return child


def run(binary, quick):
    count = 10 if quick else 100
    answer = programs.small_get("x").replace("location / {", "location /release { return 200 '$http_x_release'; } location / {", 1)
    server = [programs.peers_python(), "-u", programs.ROOT / "tests/peers/ws_server.py"]
    with programs.nginx(answer) as blue, programs.nginx(answer) as green, \
            programs.process(server, stdout=subprocess.PIPE, text=True) as chat:
        urls = (blue.url, green.url, f"http://127.0.0.1:{json.loads(chat.stdout.readline())['port']}")
        with programs.pointsman(binary, config(*urls, 0)) as proxy:
            tunnels, rows, wrong, last_good = [], [], 0, "0"
            try:
                tunnels = [tunnel(proxy) for _ in range(TUNNELS)]
                admin = proxy.admin()
                with programs.wrk_running(proxy.url) as load:
                    for number in range(1, count + 1):
                        good = number % 2 == 1
                        rows.append(reload(admin, proxy, number, good, urls))
                        last_good = str(number) if good else last_good
                        right = (rows[-1][2] == 200) == good and rows[-1][4] == last_good
                        wrong += not right
                        rows[-1].append("yes" if right else "NO")
                closed = sum(child.poll() is not None for child in tunnels)
            finally:
                for child in tunnels:
                    child.kill()
                    child.wait()
    load = load[0]
    results.rows("reloads", ["reload", "file", "status", "answer_ms", "release_after", "as_promised"], rows)
    results.summary("reloads", "A hundred reloads under load, every second one broken", [
        "| | |", "|---|---|",
        f"| requests meanwhile, over 64 keep-alive connections | {load.requests:,} |",
        f"| failed | **{load.failed}** ({load.bad_status} by status, {load.socket_errors} on the socket) |",
        f"| WebSockets closed, of {TUNNELS} kept busy | **{closed}** |",
        f"| reloads that did not do as they should (take effect; or be refused and change nothing), of {count} | **{wrong}** |",
        f"| until a reload was answered: median, largest | {results.median([r[3] for r in rows]):.2f} ms, {max(r[3] for r in rows):.2f} ms |",
    ], binary, quick)
    return load.failed == 0 and closed == 0 and wrong == 0
