"""The small C programs of the experiments: compiled when they are missing or older than their source, started, asked.

`counter` is an upstream that counts, `steady` a load that can tell a failure from an orderly end, `fixed_rate` an open
loop. Each says in its own file what it does exactly.
"""
import contextlib
import mmap
import pathlib
import re
import struct
import subprocess
import tempfile
import time

from . import programs

HERE = pathlib.Path(__file__).resolve().parent
FIXED_RATE = HERE.parent / "peers/fixed_rate.c"


def compiled(source):
    """The binary of a source file, compiled anew when the source is newer."""
    binary = programs.target() / f"peers-{source.stem.replace('_', '-')}"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        binary.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([programs.tool("cc"), "-O2", "-Wall", "-Wextra", "-Werror", "-o", binary, source, "-lm"], check=True)
    return binary


class Numbers:
    """Numbers of 64 bits that we and a child have mapped: looking at them costs the child nothing."""

    def __init__(self, count):
        self.file = tempfile.NamedTemporaryFile(prefix="pointsman-numbers-")
        self.file.truncate(8 * count)
        self.page = mmap.mmap(self.file.fileno(), 8 * count)
        self.path = self.file.name

    def __getitem__(self, index):
        return struct.unpack_from("=Q", self.page, 8 * index)[0]

    def __setitem__(self, index, value):
        struct.pack_into("=Q", self.page, 8 * index, value)


class Counter:
    """An upstream that counts requests when their first bytes arrive."""

    def __init__(self, port, numbers):
        self.kept, self.numbers, self.url = port, numbers, f"http://127.0.0.1:{port.number}"

    def requests(self):
        return self.numbers[0]


@contextlib.contextmanager
def counter(slow_ms=0, prefix="/slow"):
    """An upstream that answers at once, and paths that begin with `prefix` after so long."""
    port, numbers = programs.Port(), Numbers(1)
    with programs.process([compiled(HERE / "counter.c"), port.number, numbers.path, slow_ms, prefix]) as child:
        programs.eventually("the upstream accepts", lambda: child.poll() is None and programs.accepts(port.number))
        yield Counter(port, numbers)


def figures(text):
    """What a program has printed as key=value."""
    return {key: float(value) if "." in value else int(value) for key, value in re.findall(r"(\w+)=([\d.]+)", text)}


class Load:
    """A load under way; its figures are known when it has ended."""

    def __init__(self, child, numbers=None):
        self.child, self.numbers, self.figures = child, numbers, None

    def answered(self):
        return self.numbers[1]

    def belongs_to(self, process):
        """Connections made from now on belong to this process, or to a later one."""
        self.numbers[3] = time.monotonic_ns()
        self.numbers[0] = process

    def end(self, within=programs.PATIENCE):
        """Waits until it has ended by itself."""
        text, _ = self.child.communicate(timeout=within)
        self.figures = figures(text)
        if self.child.returncode or not self.figures:
            raise RuntimeError(f"a load has failed with {self.child.returncode}: {text}")
        return self.figures

    def stop(self):
        if self.child.poll() is not None:
            raise RuntimeError(f"a load has ended before its time with {self.child.returncode}")
        self.child.terminate()
        return self.end()


@contextlib.contextmanager
def steady(port, mode, connections, pause_us=0):
    """A closed loop: `keep`, `new` or `h2`; see steady.c."""
    numbers = Numbers(4)
    command = [compiled(HERE / "steady.c"), port, connections, pause_us, mode, numbers.path]
    with programs.process(command, stdout=subprocess.PIPE, text=True) as child:
        yield Load(child, numbers)


@contextlib.contextmanager
def fixed_rate(port, connections, rate, seconds):
    """An open loop: requests are due at random times of a fixed rate; what is late counts from when it was due."""
    request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    command = [compiled(FIXED_RATE), port, connections, rate, seconds, request]
    with programs.process(command, stdout=subprocess.PIPE, text=True) as child:
        yield Load(child)
