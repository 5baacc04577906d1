"""Makes the rounds: every subject in turn, another one first each time; one row for each measurement.

A round is a pair of everybody: what changes on the machine from round to round meets all of them, and ratios are taken
within a round.
"""
import sys

from lab import results
from . import calls, clocks, fair, idle, loads, subjects, workloads

COLUMNS = ["workload", "round", "subject", "order", "requests", "failed", "bytes", "seconds", "processor_us", "p50_us", "p99_us",
           "offered_rate", "pss_bytes", "pss_before", "syscalls"]


class Rounds:
    """The rows so far, and what they are made with."""

    def __init__(self, names, binary, behind, certificate, quick):
        self.names, self.binary, self.behind, self.certificate, self.quick = names, binary, behind, certificate, quick
        self.rows, self.peak = [], None

    def add(self, workload, number, subject, order, **values):
        row = dict.fromkeys(COLUMNS, 0) | {"workload": workload, "round": number, "subject": subject, "order": order} | values
        self.rows.append(row)
        try:
            shown = f"{workloads.figure(row):12,.2f}"
        except ZeroDivisionError:
            shown = "nothing came through"
        print(f"{workload:12} round {number} {subject:18} {shown}  {row['requests']:8} requests, {row['failed']} failed", flush=True)
        return row

    def wanted(self, names):
        """Of these workloads, those for running subjects, then those with fresh ones, then the traced ones."""
        timed = [name for name in workloads.WORKLOADS if name in names]
        bodies = any(workloads.WORKLOADS[name].variants for name in timed)
        tuned = [name for name, plain in subjects.TUNED.items() if bodies and plain in self.names]
        with subjects.all_running([*self.names, *tuned], self.binary, self.behind, self.certificate) as running:
            fair.check(running)
            for name in timed:
                self.timed(name, running)
            if workloads.CALLS in names:
                self.traced(running)
        for kind in workloads.IDLE:
            if kind in names:
                self.idle(kind)

    def timed(self, name, running):
        workload = workloads.WORKLOADS[name]
        rounds = 1 if self.quick else workload.rounds
        extra = min(rounds, workload.extra)
        rate = self.rate(running) if name == "latency" else None
        taking_part = {key: subject for key, subject in running.items() if workload.variants or key not in subjects.TUNED}
        if workload.variants:
            taking_part |= {second: running[first].variant(second) for second, (first, _) in subjects.VARIANTS.items() if first in running}
        for subject in taking_part.values():  # connections opened, pages touched, pools filled
            workload.run(subject, 0.1 if self.quick else 0.25, rate)
        for number in range(1, rounds + 1):
            names = [key for key in taking_part if number <= extra or key not in ("envoy", "caddy")]
            first = (number - 1) % len(names)
            for order, key in enumerate(names[first:] + names[:first], 1):
                self.measure(name, workload, number, order, taking_part[key], rate)

    def measure(self, name, workload, number, order, subject, rate):
        pids = subject.pids()
        before = clocks.processor_us(pids)
        try:
            load = workload.run(subject, 0.2 if self.quick else 1, rate)
        except Exception as error:
            error.add_note(f"while {name} ran through {subject.name}, round {number}")
            raise
        used = clocks.processor_us(pids) - before
        self.add(name, number, subject.name, order, requests=load.requests, failed=load.failed, bytes=load.bytes,
                 seconds=round(load.seconds, 4), processor_us=round(used), p50_us=load.p50_us, p99_us=load.p99_us,
                 offered_rate=load.offered, pss_bytes=clocks.memory(pids)[0])

    def rate(self, running):
        """The fixed rate: a part of the median of what nginx can do, from the rounds of this run where there are any."""
        rates = [row["requests"] / row["seconds"] for row in self.rows if row["workload"] == "get-64" and row["subject"] == "nginx"]
        if not rates:
            subject = running["nginx"]
            loads.wrk(subject.url(), 1, 64)
            load = loads.wrk(subject.url(), 1 if self.quick else 3, 64)
            rates = [load.requests / load.seconds]
        self.peak = results.median(rates)
        return round(workloads.FIXED_PART * self.peak)

    def traced(self, running):
        for order, subject in enumerate((running[name] for name in self.names), 1):
            total, by_name, load = calls.count(subject, calls.REQUESTS // (10 if self.quick else 1))
            self.add(workloads.CALLS, 1, subject.name, order, requests=load.requests, failed=load.failed, syscalls=total)
            most = sorted(by_name.items(), key=lambda item: -item[1])[:6]
            print("             " + ", ".join(f"{name} {count / load.requests:.2f}" for name, count in most), flush=True)

    def idle(self, kind):
        for number in range(1, 1 + (1 if self.quick else workloads.IDLE_ROUNDS)):
            measured = idle.measure(kind, self.names, self.binary, self.behind, self.certificate, self.quick)
            for order, (name, count, before, after) in enumerate(measured, 1):
                self.add(kind, number, name, order, requests=count, pss_before=before, pss_bytes=after)

    def failed(self):
        """Rows with requests that failed, or with none that came through."""
        return [row for row in self.rows if row["failed"] or not row["requests"]]


def complain(rows):
    for row in rows:
        print(f"FAILED: {row['workload']} round {row['round']} {row['subject']}: {row['failed']} failed, {row['requests']} came through",
              file=sys.stderr)
