"""Starts and stops what an experiment is made of: pointsman, nginx, load generators, WebSocket peers.

Standard library only. Everything runs on loopback, in a directory that goes away, and ends with its `with` block.
"""
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benches/results"
PATIENCE = 20


def tool(name):
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    return found or sys.exit(f"{name} is missing: run tests/run, which installs it")


def target():
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def build():
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    return target() / "release/pointsman"


def peers_python():
    venv = pathlib.Path(os.environ.get("POINTSMAN_TEST_VENV", target() / "peers-venv"))
    python = venv / "bin/python"
    return python if python.exists() else sys.exit("the Python peers are missing: run tests/run, which installs them")


class Port:
    """A port that nobody else gets: a bound socket that does not listen keeps it, and lets a listener have it."""

    def __init__(self):
        self.kept = socket.socket()
        self.kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.kept.bind(("127.0.0.1", 0))
        self.number = self.kept.getsockname()[1]


def eventually(what, look, within=PATIENCE):
    """Asks again and again until the answer is neither None nor False; ends the experiment after `within` seconds."""
    until = time.monotonic() + within
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > until:
            raise TimeoutError(f"waited {within} s for: {what}")
        time.sleep(0.002)


def accepts(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def pinned(core):
    return ["taskset", "-c", str(core)] if core is not None else []


@contextlib.contextmanager
def process(command, **options):
    child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, **options)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class Admin:
    """The admin port, over one keep-alive connection; a new one where it was not used for long, for it is closed then."""

    UNUSED = 20

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.connect()

    def connect(self):
        self.connection.close()
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.used = time.monotonic()

    def ask(self, method, path, body=None):
        if time.monotonic() - self.used > self.UNUSED:
            self.connect()
        self.used = time.monotonic()
        headers = {"content-type": "application/json"} if body is not None else {}
        self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self.connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content[:1] in (b"{", b"[") else content.decode()

    def switch(self, to, **more):
        status, answer = self.ask("POST", "/api/v1/services/shop/switch", {"to": to, **more})
        if status != 200:
            raise RuntimeError(f"the switch to {to} was refused with {status}: {answer}")
        return answer

    def group(self, name):
        return self.ask("GET", "/api/v1/services/shop")[1]["groups"][name]


class Pointsman:
    """A running proxy: its ports, its admin connection, its process."""

    def __init__(self, child, directory, ports):
        self.child, self.directory = child, directory
        self.port, self.admin_port = ports["web"].number, ports["admin"].number
        self.ports = ports
        self.url = f"http://127.0.0.1:{self.port}"

    def admin(self):
        return Admin(self.admin_port)

    def rewrite(self, config):
        """Replaces the file as editors do."""
        new = self.directory / ".new"
        new.write_text(config.replace("@web@", str(self.port)).replace("@admin@", str(self.admin_port))
                       .replace("@dir@", str(self.directory)))
        new.rename(self.directory / "pointsman.yaml")


HEAD = 'admin: { listen: 127.0.0.1:@admin@ }\nstate: { path: "@dir@/state.db" }\nlisteners: { web: { bind: "127.0.0.1:@web@" } }\n'


def blue_green(blue, green, workers=None, service=None):
    """A configuration with service `shop`, `service` being another line of it. Probes only connect, so that upstreams
    count nothing but requests."""
    head = HEAD + (f"workers: {workers}\n" if workers else "")
    more = f"    {service}\n" if service else ""
    return head + f"""services:
  shop:
    groups: {{ blue: {{ upstreams: ["{blue}"] }}, green: {{ upstreams: ["{green}"] }} }}
    health: {{ kind: tcp, interval: 1s }}
{more}routes: [ {{ match: {{ path: / }}, service: shop }} ]
telemetry: {{ log: warn }}
"""


@contextlib.contextmanager
def pointsman(binary, config, core=None):
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        ports = {"web": Port(), "admin": Port()}
        proxy = Pointsman(None, directory, ports)
        proxy.rewrite(config)
        log = directory / "log"
        command = [*pinned(core), binary, "run", "--config", directory / "pointsman.yaml"]
        with open(log, "wb") as stderr, process(command, stdout=stderr, stderr=stderr) as proxy.child:

            def ready():
                if proxy.child.poll() is not None:
                    raise RuntimeError(f"pointsman ended with {proxy.child.returncode}:\n{log.read_text()}")
                with contextlib.suppress(OSError, http.client.HTTPException):
                    return Admin(ports["admin"].number).ask("GET", "/readyz")[0] == 200
                return False

            eventually("pointsman is ready", ready)
            yield proxy
            if b"panicked at" in log.read_bytes():
                raise RuntimeError(f"pointsman panicked:\n{log.read_text()}")


class Nginx:
    """A running nginx with one worker."""

    def __init__(self, child, port, status_port):
        self.child, self.port, self.status_port, self.looks = child, port.number, status_port.number, 0
        self.ports = (port, status_port)
        self.url = f"http://127.0.0.1:{self.port}"

    def requests(self):
        """Requests of others so far. nginx counts a request when its first bytes arrive; ours are taken off."""
        connection = http.client.HTTPConnection("127.0.0.1", self.status_port, timeout=PATIENCE)
        connection.request("GET", "/")
        text = connection.getresponse().read().decode()
        connection.close()
        self.looks += 1
        return int(text.splitlines()[2].split()[2]) - self.looks

    def worker(self):
        children = pathlib.Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
        return int(children[0])


@contextlib.contextmanager
def nginx(server, http_lines="", core=None):
    """nginx with these lines in its only server; `http_lines` stand beside it."""
    with tempfile.TemporaryDirectory() as directory:
        port, status_port = Port(), Port()
        temporary = " ".join(f"{kind}_temp_path {directory}/{kind};"
                             for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config = f"""daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off; {temporary}
  {http_lines}
  server {{ listen 127.0.0.1:{status_port.number}; location / {{ stub_status; }} }}
  server {{ listen 127.0.0.1:{port.number} backlog=4096; {server} }}
}}
"""
        path = pathlib.Path(directory, "nginx.conf")
        path.write_text(config)
        command = [*pinned(core), tool("nginx"), "-p", directory, "-e", "error.log", "-c", path]
        with process(command) as child:
            running = Nginx(child, port, status_port)
            eventually("nginx accepts", lambda: child.poll() is None and accepts(port.number))
            yield running


def small_get(name, keepalive="keepalive_requests 1000000000;"):
    """A server block that answers a small text."""
    return f"{keepalive} default_type text/plain; location / {{ return 200 '{name}: hello, world\\n'; }}"


class Wrk:
    """What wrk says about a run."""

    def __init__(self, text):
        total = re.search(r"(\d+) requests in ", text)
        if not total:
            raise RuntimeError(f"wrk failed:\n{text}")
        self.text, self.requests = text, int(total[1])
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
        self.bad_status = int(bad[1]) if bad else 0
        self.socket_errors = sum(map(int, errors.groups())) if errors else 0
        self.failed = self.bad_status + self.socket_errors


@contextlib.contextmanager
def wrk_running(url, connections=64):
    """wrk until the end of the block; its result is in the list then."""
    command = [tool("wrk"), "-t1", f"-c{connections}", "-d3600s", "--timeout", "10s", url]
    result = []
    with process(command, stdout=subprocess.PIPE, text=True) as child:
        time.sleep(1)  # into its stride; no condition shows that from outside
        yield result
        if child.poll() is not None:
            raise RuntimeError("wrk ended before its time")
        child.send_signal(signal.SIGINT)
        result.append(Wrk(child.communicate(timeout=PATIENCE)[0]))
