"""kill -9 in every state of a rollout: what is there after the restart is what was durable, and nobody changes sides.

Each state is reached through the API and by what the candidate does. Before the kill the share, the events and twenty
users with their groups are noted; after it they are compared.
"""
import contextlib
import http.client
import json
import pathlib
import socket
import subprocess
import tempfile
import threading
import time

from . import native, programs, results

USERS = 20
SLOW_MS = 20_000
HELD = [{"share": 30, "hold": "1h"}, {"share": 100}]
AT_ONCE = [{"share": 30, "hold": "0s"}, {"share": 100}]
QUICK = {"undecided": {"after": "0s", "do": "advance"}}


class Process:
    """A proxy that is killed and comes again with the same file, ports and state."""

    def __init__(self, binary, directory, config):
        self.ports = {"web": programs.Port(), "admin": programs.Port()}
        self.command = [binary, "run", "--config", directory / "pointsman.yaml"]
        self.log = open(directory / "log", "ab")
        files = programs.Pointsman(None, directory, self.ports)
        files.rewrite(config)
        self.port, self.rewrite = files.port, files.rewrite
        self.start()

    def start(self):
        self.child = subprocess.Popen([str(part) for part in self.command], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

        def ready():
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.admin = programs.Admin(self.ports["admin"].number)
                return self.admin.ask("GET", "/readyz")[0] == 200
            return False

        programs.eventually("pointsman is ready", ready)

    def kill(self):
        self.child.kill()
        self.child.wait()

    def get(self, path="/", cookie=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=programs.PATIENCE)
        connection.request("GET", path, headers={"cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer

    def users(self):
        """New users' cookies and groups."""
        found = {}
        for _ in range(USERS):
            answer = self.get()
            # Where one group has everything, nobody needs a cookie.
            found[(answer.getheader("set-cookie") or "none=1").split(";")[0]] = answer.getheader("x-group")
        return found

    def rollout(self):
        return self.admin.ask("GET", "/api/v1/services/shop/rollouts?limit=1")[1]["rollouts"][0]

    def shares(self):
        return self.admin.ask("GET", "/api/v1/services/shop")[1]["split"]

    def events(self):
        found = []
        while True:
            status, page = self.admin.ask("GET", f"/api/v1/events?limit=1000&since={found[-1]['id'] if found else 0}")
            page = page["events"] if isinstance(page, dict) else page
            if status != 200 or not page:
                return found
            found += page


def server(name, status="200"):
    return f"keepalive_requests 1000000000; default_type text/plain; add_header x-group {name} always; location / {{ return {status} 'x'; }}"


@contextlib.contextmanager
def silent():
    """A port that connections are made to and nobody answers at."""
    port, listener = programs.Port(), socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port.number))
    listener.listen(64)
    with listener:
        yield type("Silent", (), {"url": f"http://127.0.0.1:{port.number}"})


def well():
    return programs.nginx(server("green"))


def fails():
    return programs.nginx(server("green", "500"))


def asks(proxy):
    """Users come, until the state is there."""
    proxy.get()


def a_slow_one(proxy):
    """Somebody has a long request at blue, and everybody else is moved away from it."""
    while proxy.admin.group("blue")["in_flight"] == 0:
        threading.Thread(target=slow_get, args=(proxy,), daemon=True).start()
        time.sleep(0.05)
    proxy.admin.ask("POST", "/api/v1/services/shop/rollouts/current/advance", {})


def slow_get(proxy):
    with contextlib.suppress(OSError, http.client.HTTPException):
        proxy.get("/slow")


def pauses(proxy):
    proxy.admin.ask("POST", "/api/v1/services/shop/rollouts/current/pause", {})


# State, the candidate, how it is probed, the plan, what is done until the state is there.
STATES = [
    ("checking", silent, "kind: http, path: /, interval: 20s, timeout: 3s", {}, None),
    ("warming", silent, "kind: tcp, interval: 1h", {"warm_up": [{"path": "/", "times": 1}]}, None),
    ("validating", well, "kind: tcp, interval: 1h", {"validate": {"hook": {"url": "http://127.0.0.1:1/", "timeout": "10m"}}}, None),
    ("awaiting_approval", well, "kind: tcp, interval: 1h", {"steps": AT_ONCE, "approval": {"before": [100], "within": "1h"}, **QUICK}, None),
    ("shifting", well, "kind: tcp, interval: 1h", {"steps": HELD}, None),
    ("baking", well, "kind: tcp, interval: 1h", {"steps": AT_ONCE, "bake": "1h", **QUICK}, None),
    ("draining", well, "kind: tcp, interval: 1h", {"steps": HELD, "bake": "0s", **QUICK}, a_slow_one),
    ("paused", well, "kind: tcp, interval: 1h", {"steps": HELD}, pauses),
    ("rolling_back", fails, "kind: tcp, interval: 1h",
     {"steps": HELD, "min_requests": 1, "on_failure": {"step_down": [10, 0], "every": "1h"}}, asks),
]


# These go on after the restart: nobody is sent to the candidate by that. All others wait until somebody has looked.
GOES_ON = {"draining": ("draining", "done"), "rolling_back": ("rolling_back",)}


def reached(proxy, state, act):
    def there():
        rollout = proxy.rollout()
        # Once the next share is there, the rest comes by itself.
        if act and rollout["state"] == "shifting" and rollout["share"] == HELD[0]["share"]:
            act(proxy)
        return rollout["state"] == state

    programs.eventually(f"the rollout is {state}", there)


def one(binary, scenario, number):
    state, candidate, health, plan, act = scenario
    with tempfile.TemporaryDirectory() as name, native.counter(SLOW_MS) as blue, candidate() as green:
        config = programs.blue_green(blue.url, green.url).replace("kind: tcp, interval: 1s", health)
        config = config.replace("groups:", "retries: { attempts: 0 }\n    groups:")
        # Whom nobody has heard of yet is asked first: a candidate that has just come.
        proxy = Process(binary, pathlib.Path(name), config.replace(green.url, blue.url) if candidate is silent else config)
        try:
            if candidate is silent:
                proxy.rewrite(config)
                proxy.admin.ask("POST", "/api/v1/config/reload", {})
            status, begun = proxy.admin.ask("POST", "/api/v1/services/shop/rollouts", {"to": "green", **plan})
            if status != 201:
                raise RuntimeError(f"{state}: refused with {status}: {begun}")
            reached(proxy, state, act)
            users = proxy.users() if state != "rolling_back" else {}
            before, shares, events = proxy.rollout(), proxy.shares(), proxy.events()
            proxy.kill()
            started = time.monotonic()
            proxy.start()
            ready = time.monotonic() - started
            after, shares_after, events_after = proxy.rollout(), proxy.shares(), proxy.events()
            moved = sum(proxy.get("/", cookie).getheader("x-group") != group for cookie, group in users.items())
            lost = sum(event not in events_after for event in events)
            holes = sum(b["id"] != a["id"] + 1 for a, b in zip(events_after, events_after[1:]))
            expected = GOES_ON.get(state, ("paused",))
            same = shares == shares_after and before["id"] == after["id"] and before["share"] == after["share"]
            return [state, number, after["state"], after["paused_in"] or "", after["share"], int(after["state"] in expected), int(same),
                    lost, holes, moved, round(1e3 * ready)]
        finally:
            proxy.kill()


COLUMNS = ["state", "run", "state_after", "paused_in", "share", "as_expected", "same_share", "events_lost", "holes", "users_moved", "ready_ms"]


def run(binary, quick):
    rounds = 2 if quick else 20
    rows = [one(binary, scenario, number) for scenario in STATES for number in range(rounds)]
    results.rows("crashes", COLUMNS, rows)
    lines = ["| killed while | times | came back as | at another share | events lost, holes in the log | users at another group |", "|---|---|---|---|---|---|"]
    for state, *_ in STATES:
        of = [row for row in rows if row[0] == state]
        back = ", ".join(sorted({row[2] for row in of}))
        lines.append(f"| {state} | {len(of)} | {back} | **{sum(1 - row[6] for row in of)}** | **{sum(row[7] for row in of)}**, "
                     f"**{sum(row[8] for row in of)}** | **{sum(row[9] for row in of)}** of {USERS * len(of) if state != 'rolling_back' else 0} |")
    results.summary("crashes", "kill -9 in every state of a rollout", lines + [
        "", f"Ready again after {results.middle_and_most([row[10] for row in rows], 0)} (median, largest).",
    ], binary, quick)
    return all(row[5] and row[6] and not row[7] and not row[8] and not row[9] for row in rows)
