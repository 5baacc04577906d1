"""Writes what was measured: every raw row as CSV, and a summary that says where it was measured."""
import csv
import datetime
import os
import platform
import statistics
import subprocess

from .programs import RESULTS, tool


def rows(name, columns, values):
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(values)
    return path


def processor():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.machine())


def first_line(command):
    done = subprocess.run(command, capture_output=True, text=True)
    return ((done.stdout + done.stderr).splitlines() or ["?"])[0]


def summary(name, title, lines, binary, quick):
    RESULTS.mkdir(exist_ok=True)
    where = (f"{processor()}, {os.cpu_count()} cores, Linux {platform.release()}, "
             f"{first_line([tool('nginx'), '-v'])}, {first_line([binary, '--version'])}, {datetime.date.today()}")
    text = [f"# {title}", "", *lines, "", f"Measured on: {where}.", f"Raw rows: `{name}.csv`. Again: `benches/run {name}`."]
    if quick:
        text.append("A quick run, to try the driver out: the figures mean nothing.")
    (RESULTS / f"{name}.md").write_text("\n".join(text) + "\n")
    print("\n".join(text), flush=True)


def quantile(values, q):
    """The smallest value that at least the part `q` of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(q * 1000) * len(ordered) // 1000) - 1))]


median = statistics.median


def middle_and_most(values, digits=2, unit="ms"):
    """The median and the largest, for people."""
    return f"{median(values):.{digits}f}, {max(values):.{digits}f} {unit}"


def first_and_last(values, digits=1, unit="s"):
    """The smallest and the largest, for people."""
    return f"{min(values, default=0):.{digits}f}, {max(values, default=0):.{digits}f} {unit}"
