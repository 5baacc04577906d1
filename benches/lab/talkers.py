"""Starts the WebSocket servers and clients of an experiment and tells them what to do.

They are processes of their own, because one Python keeps one core busy at the most. All are asked at the same time.
"""
import contextlib
import json
import pathlib
import resource
import subprocess

from . import programs

HERE = pathlib.Path(__file__).resolve().parent


def raise_limits(needed):
    """As many descriptors as we may have, for us and for all that we start from now on."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise RuntimeError(f"a process may open {hard} files here; this takes {needed}")


class Peer:
    """A child that obeys lines and answers each with a line of JSON."""

    def __init__(self, child):
        self.child = child
        self.hear()  # it is ready

    def tell(self, *words):
        self.child.stdin.write(" ".join(map(str, words)) + "\n")
        self.child.stdin.flush()

    def hear(self):
        line = self.child.stdout.readline()
        if not line:
            raise RuntimeError(f"a WebSocket peer has ended with {self.child.wait(10)}")
        return json.loads(line)


def ask(peers, *words):
    """Tells all of them, then hears all of them."""
    for peer in peers:
        peer.tell(*words)
    return [peer.hear() for peer in peers]


@contextlib.contextmanager
def peer(script, *arguments):
    command = [str(part) for part in (programs.peers_python(), "-u", HERE / script, *arguments)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Peer(child)
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


class Servers:
    """The upstreams of a group."""

    def __init__(self, peers, ports):
        self.peers, self.ports = peers, ports
        self.urls = [f"http://127.0.0.1:{port.number}" for port in ports]

    def handshakes(self):
        return sum(answer["handshakes"] for answer in ask(self.peers, "count"))

    def rows(self):
        """How each connection that is over has ended."""
        return [row for answer in ask(self.peers, "report") for row in answer["rows"]]


@contextlib.contextmanager
def servers(name, count=1, every=0):
    """So many processes that echo, and speak by themselves every so many seconds."""
    with contextlib.ExitStack() as stack:
        ports = [programs.Port() for _ in range(count)]
        yield Servers([stack.enter_context(peer("chat_server.py", port.number, name, every)) for port in ports], ports)


class Clients:
    """Clients in one or more processes."""

    def __init__(self, peers):
        self.peers = peers

    def open(self):
        """How many have connected and got their first echo."""
        return sum(answer["echoed"] for answer in ask(self.peers, "open"))

    def exchange(self):
        """How many have said something and got it back."""
        return sum(answer["echoed"] for answer in ask(self.peers, "exchange"))

    def talk(self):
        ask(self.peers, "talk")

    def newcomers(self, rate):
        """So many a second come, say something and leave, from one of the processes."""
        ask(self.peers[:1], "newcomers", rate)

    def still_open(self):
        return sum(answer["open"] for answer in ask(self.peers, "open_now"))

    def end(self, seconds):
        """Waits so long until all are closed; how each has ended, and what became of the newcomers."""
        answers = ask(self.peers, "end", seconds)
        return [row for answer in answers for row in answer["rows"]], answers[0]["newcomers"]


@contextlib.contextmanager
def clients(url, count, processes=1, every=1, first=0):
    """`count` clients, numbered from `first`, in so many processes; they speak every so many seconds once they talk."""
    with contextlib.ExitStack() as stack:
        part = -(-count // processes)
        shares = [(first + at, min(part, count - at)) for at in range(0, count, part)]
        yield Clients([stack.enter_context(peer("chat_clients.py", url, *share, every)) for share in shares])
