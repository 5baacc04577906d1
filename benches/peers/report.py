"""The summary: medians, ratios within each round, what was wanted beside what was found."""
import dataclasses
import datetime
import os
import platform
import subprocess

from lab import results
from . import idle, install, subjects, workloads

KIB = 1024


def figures(rows, workload, subject):
    """The figure of a subject in each round, by round."""
    return {row["round"]: workloads.figure(row) for row in rows
            if row["workload"] == workload and row["subject"] == subject and row["requests"]}


def median(rows, workload, subject):
    """None where it was not measured."""
    found = list(figures(rows, workload, subject).values())
    return results.median(found) if found else None


def ratios(rows, workload, one, other):
    """`one` by `other` in each round that has both."""
    ones, others = figures(rows, workload, one), figures(rows, workload, other)
    return [ones[number] / others[number] for number in sorted(ones) if number in others]


@dataclasses.dataclass(frozen=True)
class Limit:
    """What is wanted of pointsman: at most so much of a peer's figure; of its own, where no peer is named."""
    what: str
    workload: str
    peer: str
    limit: float
    inverse: bool = False  # told as the peer's figure by ours: how many times as much for the same processor time

    def found(self, rows):
        """What was found in each round."""
        if not self.peer:
            return [value / KIB for value in figures(rows, self.workload, "pointsman").values()]
        return [1 / ratio if self.inverse else ratio for ratio in ratios(rows, self.workload, "pointsman", self.peer)]

    def reached(self, found):
        shown = round(found, 2)  # what the table says counts
        return shown >= self.limit if self.inverse else shown <= self.limit

    def told(self):
        unit = "×" if self.peer else "KiB"
        return f"{'at least' if self.inverse else 'at most'} {self.limit:g} {unit}"


LIMITS = [
    *[Limit(f"small GET, 64 connections: processor time a request, by {peer}'s", "get-64", peer, limit)
      for peer, limit in (("nginx", 0.95), ("haproxy", 0.95), ("envoy", 0.30), ("caddy", 0.25))],
    Limit("system calls a request, by nginx's", "syscalls", "nginx", 1.0),
    Limit("p99 at 60 % of nginx's peak, by nginx's", "latency", "nginx", 1.0),
    *[Limit(f"1 MiB {way}: bytes a processor second, by {peer}'s", f"{way}-1m", peer, 2.0, inverse=True)
      for way in ("down", "up") for peer in ("nginx", "haproxy")],
    Limit("HTTP/2 to HTTP/1.1: processor time a request, by nginx's", "h2", "nginx", 0.80),
    Limit("TLS keep-alive: processor time a request, by nginx's", "tls", "nginx", 1.0),
    Limit("TLS handshakes a processor second, by nginx's", "handshakes", "nginx", 1.0, inverse=True),
    Limit("memory of an idle keep-alive connection", "idle-plain", "", 2),
    Limit("memory of an idle tunnel", "idle-tunnel", "", 3),
    Limit("memory of an idle TLS connection", "idle-tls", "", 24),
]


def limits(rows):
    lines = ["| promise | wanted | found: median | from, to | |", "|---|---|---|---|---|"]
    for limit in LIMITS:
        found = limit.found(rows)
        if not found:
            lines.append(f"| {limit.what} | {limit.told()} | | | not measured |")
            continue
        middle = results.median(found)
        span = f"{min(found):.2f}, {max(found):.2f}" if len(found) > 1 else "one round"
        verdict = "reached" if limit.reached(middle) else "**not reached**"
        lines.append(f"| {limit.what} | {limit.told()} | **{middle:.2f}**{'' if limit.peer else ' KiB'} | {span} | {verdict} |")
    return lines


def present(rows):
    """The subjects of these rows, in the usual order."""
    there = {row["subject"] for row in rows}
    return [name for name in (*subjects.SUBJECTS, *subjects.VARIANTS, *subjects.TUNED) if name in there]


def table(rows, units):
    """Medians; in brackets the median of the ratios to nginx within rounds; and pointsman's ratio to HAProxy."""
    names = present([row for row in rows if row["workload"] in units])
    if not names:
        return ["Not measured."]
    lines = ["| median (by nginx's) | " + " | ".join(names) + " | pointsman by haproxy's |", "|---|" + "---|" * (len(names) + 1)]
    for workload, (title, unit, scale) in units.items():
        cells = []
        for name in names:
            value, found = median(rows, workload, name), ratios(rows, workload, name, "nginx")
            ratio = f" ({results.median(found):.2f})" if found and name != "nginx" else ""
            cells.append("" if value is None else f"{value * scale:,.2f}{ratio}")
        beside = ratios(rows, workload, "pointsman", "haproxy")
        cells.append(f"{results.median(beside):.2f}" if beside else "")
        if any(cells):
            lines.append(f"| {title}, {unit} | " + " | ".join(cells) + " |")
    return lines


def resident(rows):
    """What a process had in memory after its rounds of a workload."""
    names = [name for name in present(rows) if name in subjects.SUBJECTS]
    lines = ["| MiB of memory after | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for workload in ("get-64", "get-1000"):
        there = {name: [row["pss_bytes"] for row in rows if row["workload"] == workload and row["subject"] == name] for name in names}
        if any(there.values()):
            cells = [f"{results.median(found) / KIB**2:.1f}" if found else "" for found in there.values()]
            lines.append(f"| {workloads.WORKLOADS[workload].title} | " + " | ".join(cells) + " |")
    return lines if len(lines) > 2 else []


def latency(rows):
    mine = [row for row in rows if row["workload"] == "latency"]
    if not mine:
        return []
    rate = mine[0]["offered_rate"]
    lines = [f"Open loop, {rate:,.0f} requests a second at random times over 64 connections: 60 % of what nginx can do here. A request "
             "counts from the moment it was due.", "", "| | p50 µs | p99 µs | answered of those due |", "|---|---|---|---|"]
    for name in present(mine):
        own = [row for row in mine if row["subject"] == name]
        p50, p99 = (results.median([row[key] for row in own]) for key in ("p50_us", "p99_us"))
        part = results.median([row["requests"] / row["seconds"] / rate for row in own])
        lines.append(f"| {name} | {p50:,.0f} | {p99:,.0f} | {'all' if part > 0.95 else f'{part:.0%}: cannot keep this rate'} |")
    return lines


def versions(binary):
    """What each says it is."""
    asked = ([binary, "--version"], [install.path("nginx"), "-v"], [install.path("haproxy"), "-v"], [install.envoy(), "--version"],
             [install.path("caddy"), "version"])
    said = [subprocess.run(command, capture_output=True, text=True) for command in asked]
    lines = [next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "?") for done in said]
    envoy, caddy = lines[3].split("version:")[-1].split("/"), lines[4]
    return [*lines[:2], lines[2].split(" - ")[0], "Envoy " + (envoy[1] if len(envoy) > 1 else "?"), f"Caddy {caddy}"]


def page(rows, binary, quick):
    """The summary."""
    timed = {name: (how.title, how.unit, 1) for name, how in workloads.WORKLOADS.items() if name != "latency"}
    memory = {name: (title, "KiB", 1 / KIB) for name, title in workloads.IDLE.items()}
    lines = ["# pointsman beside nginx, HAProxy, Envoy and Caddy", ""]
    if quick:
        lines += ["**A quick run, to try the driver out: the figures mean nothing.**", ""]
    lines += [
        "The same work, one worker each, pinned to core 0; loads and upstreams share core 1. Ratios are taken within a round, in which "
        "every subject has its turn, another one first each time. Less is better. pointsman has its features on: two groups that share "
        "the traffic by the hash of a cookie, health checks, metrics.", "",
        "## Wanted and found", "", *limits(rows), "", "## Processor time", "", *table(rows, timed), "",
        "`nginx-unbuffered` is nginx with `proxy_buffering off`, `haproxy-splice` is HAProxy with `option splice-auto`; `nginx-tuned` and "
        "`haproxy-tuned` have buffers of 64 KiB, made for large bodies. The load's core is the limit for some, so what came through a "
        "second (in the rows) compares little; processor time is what counts.", "",
    ]
    if any(row["workload"] == "latency" for row in rows):
        lines += ["## Latency at a fixed rate", "", *latency(rows), ""]
    lines += ["## Memory and system calls", "", *table(rows, memory), "",
              "Growth of proportional memory, by client, in fresh processes: 3,000 keep-alive connections, 1,000 with TLS, 1,000 tunnels, one "
              f"exchange on each, then {idle.SETTLE} s of idleness. What a process reserves when it starts is not in it.", "",
              *resident(rows), "",
              *table(rows, {workloads.CALLS: ("system calls", "a request", 1)}), "",
              f"Measured on: {results.processor()}, {os.cpu_count()} cores, Linux {platform.release()}, {datetime.date.today()}; "
              f"{', '.join(versions(binary))}.",
              "Raw rows: `peers-rows.csv`. Again: `benches/peers/run`."]
    return "\n".join(lines) + "\n"
