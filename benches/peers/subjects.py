"""Starts the subjects: pointsman and its four peers, each with one worker, pinned to core 0.

A subject has a plain port, a TLS port, and for nginx and HAProxy further ones with the same in other ways. What stands
in the files is `configs`' business, what is done to a subject is `workloads`'.
"""
import contextlib
import http.client
import os
import pathlib
import subprocess
import tempfile

from lab import programs
from . import clocks, configs, install

PROXY_CORE, LOAD_CORE = 0, 1
SUBJECTS = ("pointsman", "nginx", "haproxy", "envoy", "caddy")
# The same process in a second way: the name of the row, whose it is, and by which of its ports.
VARIANTS = {"nginx-unbuffered": ("nginx", "other"), "nginx-tuned": ("nginx", "third"), "haproxy-splice": ("haproxy", "other")}
TUNED = {"haproxy-tuned": "haproxy"}  # a process of its own, for bodies only
MAKERS = {"pointsman": configs.pointsman, "nginx": configs.nginx, "haproxy": configs.haproxy, "envoy": configs.envoy,
          "caddy": configs.caddy, "haproxy-tuned": configs.haproxy_tuned}


class Subject:
    """A running proxy, or a second way through it."""

    def __init__(self, name, child, asked):
        self.name, self.child, self.asked = name, child, asked
        self.path = pathlib.Path(asked.directory)
        self.port, self.tls = asked.plain, asked.tls

    def variant(self, name):
        """The same process through another port."""
        second = Subject(name, self.child, self.asked)
        second.port = getattr(self.asked, VARIANTS[name][1])
        return second

    def url(self, path="/", secure=False):
        return f"https://127.0.0.1:{self.tls}{path}" if secure else f"http://127.0.0.1:{self.port}{path}"

    def pids(self):
        return clocks.family(self.child.pid)


class Certificate:
    """A self-signed P-256 certificate for 127.0.0.1: what development and most of production use for speed."""

    def __init__(self, directory):
        self.cert, self.key, self.both = (str(pathlib.Path(directory, name)) for name in ("cert.pem", "key.pem", "both.pem"))
        subprocess.run([programs.tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "7", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", self.key, "-out", self.cert], check=True, capture_output=True)
        pathlib.Path(self.both).write_text(pathlib.Path(self.cert).read_text() + pathlib.Path(self.key).read_text())


def command(name, binary, file):
    """How a subject is started with its configuration file."""
    return {
        "pointsman": [binary, "run", "--config", file],
        "nginx": [programs.tool("nginx"), "-p", file.parent, "-e", "log", "-c", file],
        "haproxy": [programs.tool("haproxy"), "-db", "-f", file],
        "envoy": [install.envoy(), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c", file],
        "caddy": [programs.tool("caddy"), "run", "--config", file, "--adapter", "caddyfile"],
    }[TUNED.get(name, name)]


@contextlib.contextmanager
def running(name, binary, behind, certificate):
    """One subject, ready for requests."""
    with tempfile.TemporaryDirectory(prefix=f"peers-{name}-") as directory:
        ports = {key: programs.Port() for key in ("plain", "tls", "other", "third", "admin")}
        asked = configs.Asked(**{key: port.number for key, port in ports.items()}, small=behind.small, sink=behind.sink,
                              chat=behind.chat, directory=directory, cert=certificate.cert, key=certificate.key,
                              both=certificate.both)
        file = pathlib.Path(directory, {"envoy": "envoy.json", "caddy": "Caddyfile", "pointsman": "pointsman.yaml"}.get(name, name))
        file.write_text(MAKERS[name](asked))
        log = pathlib.Path(directory, "output")
        settings = {**os.environ, "GOMAXPROCS": "1", "HOME": directory, "XDG_DATA_HOME": directory, "XDG_CONFIG_HOME": directory}
        settings.pop("OPENSSL_CONF", None)  # that is the clients'
        with open(log, "wb") as output, \
                programs.process([*programs.pinned(PROXY_CORE), *command(name, binary, file)], stdout=output, stderr=output,
                                 env=settings) as child:
            subject = Subject(name, child, asked)
            subject.ports = ports  # kept for as long as it runs

            def answers():
                if child.poll() is not None:
                    raise RuntimeError(f"{name} ended with {child.returncode}:\n{log.read_text()}")
                return answered(asked.admin, "/readyz") if name == "pointsman" else answered(asked.plain, "/")

            programs.eventually(f"{name} answers", answers)
            yield subject
            if b"panicked at" in log.read_bytes():
                raise RuntimeError(f"{name} panicked:\n{log.read_text()}")


def answered(port, path):
    """Whether 200 comes back."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status == 200
    return False


@contextlib.contextmanager
def all_running(names, binary, behind, certificate):
    """Subjects by name, all at the same time: those that have nothing to do use next to no time."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(running(name, binary, behind, certificate)) for name in names}
