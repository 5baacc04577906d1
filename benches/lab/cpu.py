"""Processor time a request, beside nginx as the same kind of proxy.

Both have one worker, pinned to core 0; load and upstream share core 1. Rounds are paired and take turns in who goes
first, so that what changes on the machine meanwhile meets both.
"""
import os
import pathlib

from . import programs, results

TICK = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 64

NGINX_PROXY = """location / {
    proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; }
  keepalive_requests 1000000000;"""


def upstreams(address):
    return f"upstream behind {{ server {address}; keepalive {CONNECTIONS}; keepalive_requests 1000000000; }}"


def processor_seconds(pid):
    """User and system time of all threads of a process, in seconds."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def measure(url, pid, seconds):
    before = processor_seconds(pid)
    load = programs.wrk(url, seconds, CONNECTIONS, core=1)
    used = processor_seconds(pid) - before
    return 1e6 * used / load.requests, load


def run(binary, quick):
    rounds, seconds = (2, 1) if quick else (11, 8)
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("this experiment needs two cores")
    with programs.nginx(programs.small_get("hello"), core=1) as behind, \
            programs.nginx(NGINX_PROXY, upstreams(f"127.0.0.1:{behind.port}"), core=0) as nginx, \
            programs.pointsman(binary, programs.blue_green(behind.url, behind.url.replace("127.0.0.1", "localhost"), workers=1),
                               core=0) as proxy:
        subjects = {"pointsman": (proxy.url, proxy.child.pid), "nginx": (nginx.url, nginx.worker())}
        for url, _ in subjects.values():
            programs.wrk(url, 1, CONNECTIONS, core=1)  # connections opened, pages touched
        rows, failed = [], 0
        for number in range(1, rounds + 1):
            order = list(subjects) if number % 2 else list(reversed(subjects))
            measured = {name: measure(*subjects[name], seconds) for name in order}
            failed += sum(load.failed for _, load in measured.values())
            (ours, load), (theirs, their_load) = measured["pointsman"], measured["nginx"]
            rows.append([number, order[0], round(ours, 3), round(theirs, 3), round(ours / theirs, 4),
                         round(load.requests / seconds), round(their_load.requests / seconds)])
            print(*rows[-1], flush=True)
    results.rows("cpu", ["round", "first", "pointsman_us", "nginx_us", "ratio", "pointsman_rps", "nginx_rps"], rows)
    column = [[row[i] for row in rows] for i in range(7)]
    results.summary("cpu", "Processor time a request, beside nginx", [
        "| median of all rounds | pointsman | nginx |", "|---|---|---|",
        f"| µs of processor time a request, user and system | **{results.median(column[2]):.2f}** | {results.median(column[3]):.2f} |",
        f"| requests a second on that core | {results.median(column[5]):,.0f} | {results.median(column[6]):,.0f} |", "",
        f"Ratio pointsman to nginx in each round: median **{results.median(column[4]):.3f}**, from {min(column[4]):.3f} to "
        f"{max(column[4]):.3f}, {rounds} paired rounds of {seconds} s. {failed} requests failed.",
        "", f"One worker each, pinned to core 0; wrk and the upstream on core 1; {CONNECTIONS} keep-alive connections, a small GET, no "
        "access log, pooled upstream connections on both sides. All threads of pointsman count, its control plane too.",
    ], binary, quick)
    return failed == 0
