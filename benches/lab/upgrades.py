"""Binary upgrades under load: not one request fails, new connections belong to the new process, tunnels stay.

Each process has a file of its own, which sets a header field with its number on all requests; the upstream answers with
it. So every answer says which process it came through, and a load can tell that an answer is stale: that its connection
was made after the upgrade was answered, and still led to the old process.
"""
import contextlib
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.request

from . import native, programs, results, talkers

CODE = 1012
LEAD = 3.0     # seconds before the end of the old process at which it has told its last tunnel
SPREAD = 1     # seconds over which it tells them
FRESH = 50     # connections that we make ourselves, one after another, as soon as an upgrade is answered
OVERTIME = 2.0  # seconds that a process may need for its end when its time is up
EARLY = 0.2    # what clocks and the beginning of the end may differ by
LOADS = {      # mode, connections, microseconds between an answer and the next request
    "keep-alive, at full speed": ("keep", 32, 0),
    "keep-alive, mostly silent": ("keep", 32, 700_000),
    "a connection for each request": ("new", 4, 1000),
    "HTTP/2": ("h2", 4, 1000),
}
PR_SET_CHILD_SUBREAPER = 36


class Size:
    """How large the experiment is: seconds and counts."""

    def __init__(self, quick):
        self.upgrades, self.requests, self.tunnels = (2, 0, 10) if quick else (5, 300_000, 100)
        self.timeout = 6 if quick else 10  # of the process that leaves
        self.between = 1 if quick else 3   # seconds of load before and after each


def config(blue, green, chat, number, size):
    """The file of the process with this number."""
    text = programs.blue_green(blue, green)
    close = f"drain: {{ tunnels: {{ close_code: {CODE}, spread: {SPREAD}s }} }}"
    text = text.replace("routes: [ ", f'  chat:\n    groups: {{ blue: {{ upstreams: ["{chat}"] }}, green: {{ upstreams: ["{chat}"] }} }}\n'
                        f"    health: {{ kind: tcp, interval: 1s }}\n    {close}\nroutes: [ {{ match: {{ path: /ws }}, service: chat }}, ")
    text = text.replace("service: shop } ]", f'service: shop, headers: {{ request: {{ set: {{ x-generation: "{number}" }} }} }} }} ]')
    return text + f"shutdown: {{ timeout: {size.timeout}s }}\n"


class Processes:
    """All processes of the proxy. What they leave behind becomes our child, so that its end and its status are seen."""

    def __init__(self, proxy, binary, urls, size):
        self.proxy, self.binary, self.urls, self.size = proxy, binary, urls, size
        self.pids, self.codes = [proxy.child.pid], {}

    def file(self, number):
        path = self.proxy.directory / f"process-{number}.yaml"
        text = config(*self.urls, number, self.size)
        path.write_text(text.replace("@web@", str(self.proxy.port)).replace("@admin@", str(self.proxy.admin_port))
                        .replace("@dir@", str(self.proxy.directory)))
        return path

    def upgrade(self, number):
        """By the command line, then by the API, and so on; gives what was answered."""
        file = self.file(number)
        if number % 2:
            command = [self.binary, "--admin", f"http://127.0.0.1:{self.proxy.admin_port}", "--output", "json", "upgrade", "--config", file]
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
            if done.returncode:
                raise RuntimeError(f"upgrade {number} has failed with {done.returncode}: {done.stdout}{done.stderr}")
            answer = json.loads(done.stdout)
        else:
            admin = self.proxy.admin()
            admin.connection.timeout = 60
            status, answer = admin.ask("POST", "/api/v1/upgrade", {"binary": None, "config": str(file)})
            if status != 200:
                raise RuntimeError(f"upgrade {number} was answered with {status}: {answer}")
        if answer["old_pid"] != self.pids[-1] or answer["pid"] in self.pids:
            raise RuntimeError(f"upgrade {number} names processes that it should not: {answer}; so far {self.pids}")
        self.pids.append(answer["pid"])
        return answer

    def answering(self):
        """Which process answers a new connection."""
        with urllib.request.urlopen(self.proxy.url, timeout=programs.PATIENCE) as answer:
            return int(answer.read())

    def code(self, pid):
        """The exit status of a process; None while it runs."""
        if pid == self.proxy.child.pid:
            return self.proxy.child.poll()
        if pid not in self.codes:
            with contextlib.suppress(ChildProcessError):  # not ours yet: its parent lives
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    self.codes[pid] = os.waitstatus_to_exitcode(status)
        return self.codes.get(pid)

    def end(self):
        """Ends the one that is left, and whatever was started and not named."""
        ours = str(pathlib.Path(self.binary).resolve())
        for pid in {*self.pids, *children()}:
            with contextlib.suppress(OSError):
                if self.code(pid) is None and os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)") == ours:
                    os.kill(pid, signal.SIGKILL)
                    programs.eventually(f"process {pid} is gone", lambda: self.code(pid) is not None)


def children():
    """Our children, and theirs."""
    found = [os.getpid()]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in pathlib.Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found[1:]


def adopt_orphans():
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot become the parent of orphans")


def upgrade(processes, loads, number, clients, size):
    """One upgrade; gives its row, once the old process is gone."""
    time.sleep(size.between)
    before, old = sum(load.answered() for load in loads), processes.pids[-1]
    began = time.time()
    answer = processes.upgrade(number)
    at = time.time()
    for load in loads:
        load.belongs_to(number)
    fresh = [(time.time() - at, processes.answering()) for _ in range(FRESH)]
    stale = [begun for begun, process in fresh if process != number]
    programs.eventually("the old process is gone", lambda: processes.code(old) is not None, within=size.timeout + 30)
    gone = time.time()
    ends, _ = clients.end(5)
    closed = [row["closed_at"] - at for row in ends if row["closed_at"]]
    unclean = [row for row in ends if [row.get("received"), row.get("sent")] != [CODE, CODE] or row["wrong"]]
    return {"upgrade": number, "by": "command" if number % 2 else "api", "old": old, "new": answer["pid"], "ms": round(answer["ms"], 1),
            "seen_ms": round(1e3 * (at - began), 1), "gone_after_s": round(gone - at, 2), "code": processes.code(old),
            "requests": sum(load.answered() for load in loads) - before, "stale": len(stale),
            "last_stale_ms": round(1e3 * max(stale), 1) if stale else "",
            "tunnels": len(ends), "first_closed_s": round(min(closed, default=0), 2), "last_closed_s": round(max(closed, default=0), 2),
            "early": sum(after < size.timeout - LEAD - SPREAD - EARLY for after in closed),
            "unclean": len(unclean), "why": "; ".join(sorted({row["wrong"] or row.get("why") or "not closed" for row in unclean}))}


def measure(binary, size):
    """All upgrades; gives a row for each, and what came of the loads."""
    adopt_orphans()
    with contextlib.ExitStack() as stack:
        blue, green = (stack.enter_context(native.counter()) for _ in range(2))
        chat = stack.enter_context(talkers.servers("chat", every=1))
        urls = (blue.url, green.url, chat.urls[0])
        proxy = stack.enter_context(programs.pointsman(binary, config(*urls, 0, size)))
        processes = Processes(proxy, binary, urls, size)
        stack.callback(processes.end)
        loads = [stack.enter_context(native.steady(proxy.port, *how)) for how in LOADS.values()]
        rows = []
        for number in range(1, size.upgrades + 1):
            with talkers.clients(f"ws://127.0.0.1:{proxy.port}/ws", size.tunnels, first=1000 * number) as clients:
                if clients.open() != size.tunnels:
                    raise RuntimeError("not all tunnels have echoed")
                clients.talk()
                rows.append(upgrade(processes, loads, number, clients, size))
        while sum(load.answered() for load in loads) < size.requests:
            time.sleep(0.1)
        time.sleep(size.between)
        figures = {name: load.stop() for name, load in zip(LOADS, loads)}
        events = [event["kind"] for event in proxy.admin().ask("GET", "/api/v1/events?since=0")[1]["events"]]
    return rows, figures, events


def run(binary, quick):
    size = Size(quick)
    rows, figures, events = measure(binary, size)
    failed = sum(figure["failed"] for figure in figures.values())
    stale = sum(figure["stale"] for figure in figures.values()) + sum(row["stale"] for row in rows)
    last = max(row["last_stale_ms"] or 0 for row in rows)
    last = max(last, max(figure["last_stale_us"] for figure in figures.values()) / 1e3)
    early, unclean = (sum(row[key] for row in rows) for key in ("early", "unclean"))
    cut = sum(row["code"] != 0 for row in rows)
    outlived = sum(row["gone_after_s"] > size.timeout + OVERTIME for row in rows)
    total = sum(figure["answered"] for figure in figures.values())
    results.rows("upgrades", list(rows[0]), [list(row.values()) for row in rows])
    why = ("unmade", "refused", "cut", "wrong", "late")
    results.summary("upgrades", "Binary upgrades under load", [
        "| load | answered | failed | why | connections | ended in order by the proxy | stale |", "|---|---|---|---|---|---|---|",
        *(f"| {name}: {LOADS[name][1]} | {f['answered']:,} | **{f['failed']}** | "
          f"{', '.join(f'{f[key]} {key}' for key in why if f[key]) or '-'} | "
          f"{f['connections']:,} | {f['orderly']:,} | **{f['stale']}** |" for name, f in figures.items()),
        "", "| | |", "|---|---|",
        f"| upgrades, by `pointsman upgrade` and by `POST /api/v1/upgrade` in turn | {len(rows)} |",
        f"| requests answered; failed | {total:,}; **{failed}** |",
        f"| answers through the old process on connections made after the upgrade was answered | **{stale}** |",
        f"| so long after the upgrade was answered the last of these connections was made | {last:.1f} ms |",
        f"| HTTP/2 streams that a GOAWAY left unprocessed, which a client may repeat | {sum(f['unprocessed'] for f in figures.values())} |",
        f"| until an upgrade was answered: median, largest | {results.middle_and_most([r['seen_ms'] for r in rows], 0)} |",
        f"| tunnels through the process that leaves, each time | {size.tunnels} |",
        f"| closed before their time | **{early}** |",
        f"| closed without a clean {CODE}, or with a broken message | **{unclean}** |",
        f"| closed after the upgrade, first and last | "
        f"{results.first_and_last([r[key] for r in rows for key in ('first_closed_s', 'last_closed_s')])} |",
        f"| old process gone after the upgrade: first, last | {results.first_and_last([r['gone_after_s'] for r in rows])} |",
        f"| old processes that were still there {OVERTIME:g} s after their time | **{outlived}** |",
        f"| old processes that left with anything but 0 (something was cut) | **{cut}** |",
        f"| lines `upgrade` in the audit log | {events.count('upgrade')} |",
        "", f"`shutdown: {{ timeout: {size.timeout}s }}`: its last tunnel is told {LEAD:g} s before that, the first {SPREAD} s earlier. A "
        "request fails when its connection cannot be made or ends before the whole answer, or when the answer is not 200. "
        "Nothing is tried again.", *(f"Unexpected: upgrade {row['upgrade']}: {row['why']}" for row in rows if row["why"]),
    ], binary, quick)
    return not any((failed, stale, early, unclean, cut, outlived)) and total >= size.requests and events.count("upgrade") == len(rows)
