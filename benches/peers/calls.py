"""System calls a request, counted by strace during a short load. Apart from all timing: strace slows everything down."""
import pathlib
import re
import signal
import subprocess
import tempfile

from lab import programs
from . import loads, subjects

REQUESTS = 10_000


def count(subject, requests=REQUESTS):
    """How many calls all processes and threads of a subject make for these requests over 64 connections."""
    loads.wrk(subject.url(), 1, 64)  # pools filled
    with tempfile.TemporaryDirectory() as directory:
        table = pathlib.Path(directory, "table")
        pids = [part for pid in subject.pids() for part in ("-p", str(pid))]
        command = [*programs.pinned(subjects.PROXY_CORE), programs.tool("strace"), "-c", "-f", "-o", str(table), *pids]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            tracer.stderr.readline()  # "Process … attached"
            programs.eventually("all threads are traced", lambda: traced(subject, tracer.pid))
            load = loads.h2load(subject.url(), requests, 64, 1, "--h1")
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=programs.PATIENCE)
        total = re.search(r"^100\.00\s.*?(\d+)(?:\s+\d+)?\s+total$", table.read_text(), re.M)
        numbers = [line.split() for line in table.read_text().splitlines()]
        by_name = {line[-1]: int(line[3]) for line in numbers if len(line) in (5, 6) and line[3].isdigit()}
        if not total:
            raise RuntimeError(f"strace counted nothing:\n{table.read_text()}")
        return by_name.pop("total"), by_name, load


def traced(subject, tracer):
    """Whether every thread has the tracer."""
    tasks = [task for pid in subject.pids() for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]
    return all(f"TracerPid:\t{tracer}\n" in (task / "status").read_text() for task in tasks)
