"""How soon the verdict sees a bad candidate and how often it takes a good one for bad, beside a poll with fixed thresholds.

Nothing is started: `cargo bench --bench verdict` simulates rollouts on the same code that judges real ones. Its seeds are
fixed, so these figures do not depend on the machine.
"""
import csv
import io
import pathlib
import subprocess

from . import programs, results

JUDGES = ["pointsman", "poll-1", "poll-5"]
FORGIVING = "poll-5-forgiving"

# load, what is meant, of which figure, the most it may be, whether a miss breaks the promise
FAST = [
    ("no connection", "dead, no connection at 10 %: failed attempts, largest", "bad_max", 5, True),
    ("all fail", "dead, only errors at 10 %: failed attempts, 95th percentile", "bad_p95", 5, True),
    ("all fail", "the same, largest", "bad_max", 5, False),
    ("30 % fail", "30 % fail, the limit is 5 %: failed attempts, median", "bad_median", 12, True),
    ("30 % fail", "the same, 95th percentile", "bad_p95", 25, True),
    ("10 % fail", "10 % fail: requests at the candidate, largest", "requests_max", 2000, True),
    ("p95 doubled", "p95 doubled, lognormal (σ = 0.5): requests at the candidate, median", "requests_median", 300, True),
    ("p95 doubled, lognormal σ = 0.25", "the same, lognormal (σ = 0.25)", "requests_median", 300, True),
    ("p95 doubled, lognormal σ = 1", "the same, lognormal (σ = 1)", "requests_median", 300, False),
    ("p95 doubled, exponential", "the same, exponential", "requests_median", 300, False),
    ("p95 doubled, two humps", "the same, a tenth of all takes ten times as long", "requests_median", 300, False),
]

COMPARED = """
What is compared, and how:

- **One simulation for all.** Requests come at a fixed rate, and each is given to candidate or baseline at random, by the
  step's share: 10, 25, 50, 100 % and the bake, 10 minutes each for bad candidates, 200 s each (100,000 requests in all) for
  good ones; "straight to 100 %" is a minute in which all is the baseline's, and then the candidate has everything. Whether
  it fails and how long it takes is drawn from the load's distributions; the scale of the durations
  moves through one power of two from rollout to rollout, since they are kept by buckets. One request in sixteen is a
  WebSocket. Every judge gets the same rollouts, by the same seeds.
- **pointsman** judges by the code that runs in the proxy: 5 % of errors, the p95 half as long again as the baseline's, a
  mean of 5 s, 95 % of WebSocket handshakes, `connect_failures: 3`, `confidence: 99.9%` for all of them together. It looks
  each second, and after each failed attempt at the candidate (at good candidates each second only, but for two loads; at
  12 requests an hour each minute, and when something has come).
- **The poll** checks once a minute, as Flagger does it (`advanceCanary` in its scheduler.go): first, whether so many checks
  have failed in all, which rolls back; then the candidate's last minute against fixed thresholds, 5 % of errors and the
  p95. So it rolls back one interval after the check that was one too many. It is told 1.5 times the baseline's true p95 as
  its threshold, which nobody knows that well. `poll-1` allows one failed check, `poll-5` five (Flagger's examples have 5
  or 10). A minute without traffic is a failed check, as with Flagger; `poll-5-forgiving` lets it pass.
- **What is not reached.** Five attempts that fail are no proof while the baseline has had hardly more than ten: with one as
  bad that would come about too often. And the p95 is too high when more than 5 % take longer than the
  limit; where it has doubled, and the limit is 1.5 times the baseline's, 14 % do with σ = 0.5, but 10.6 % of exponential
  durations, 8.7 % with σ = 1 and 7.6 % with two humps. Four guards share 0.1 %, so each may be wrong in one of 4,267
  rollouts; whatever the test, it then needs ln(4267)/KL(rate, 5 %) requests on average (Wald 1945): 333, 690 and 1,306.
- **Bad responses** are those that failed, and with doubled durations those slower than 1.5 times the baseline's p95, at the
  candidate, from the fault's beginning to the rollback. 5 % of what is slow would have been so anyway.
"""


def number(text):
    return float(text) if "." in text else int(text)


def table(text):
    """The rows by load and judge."""
    rows = {}
    for row in csv.DictReader(io.StringIO(text)):
        load, judge = row.pop("load"), row.pop("judge")
        rows.setdefault(load, {})[judge] = {key: value == "true" if key == "is_bad" else number(value) for key, value in row.items()}
    return rows



def promises(rows):
    """Lines of a table, and whether all is kept."""
    lines, kept = ["| promise | wanted | found |", "|---|---|---|"], True
    for load, what, figure, most, is_promise in FAST:
        found = rows[load]["pointsman"]
        reached = found[figure] <= most and found["rolled_back"] == found["runs"]
        lines.append(f"| {what} | at most {most} | {found[figure]:,}{'' if reached else ': **not reached**'} |")
        kept &= reached or not is_promise
    for load, judges in rows.items():
        found = judges["pointsman"]
        if not found["is_bad"]:
            most = found["runs"] // 1000
            reached = found["rolled_back"] <= most
            lines.append(f"| {load}: false rollbacks of {found['runs']:,} | at most {most} | "
                         f"{found['rolled_back']}{'' if reached else ': **not reached**'} |")
            kept &= reached
    return lines, kept


def duration(seconds):
    if seconds < 1:
        return "< 1 s"
    if seconds < 600:
        return f"{seconds} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def beside(rows):
    heads = [f"bad responses: {judge}" for judge in JUDGES] + [f"time: {judge}" for judge in JUDGES]
    lines = ["Bad responses served until the rollback, median (95th percentile); and the time until then, median (largest):", "",
             f"| bad candidate | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for load, judges in rows.items():
        if judges["pointsman"]["is_bad"]:
            bad = [f"{judges[judge]['bad_median']:,} ({judges[judge]['bad_p95']:,})" for judge in JUDGES]
            time = [f"{duration(judges[judge]['seconds_median'])} ({duration(judges[judge]['seconds_max'])})" for judge in JUDGES]
            lines.append(f"| {load} | {' | '.join(bad + time)} |")
    return lines


def false_alarms(rows):
    judges = [*JUDGES, FORGIVING]
    lines = ["False rollbacks:", "", f"| candidate that is no worse | {' | '.join(judges)} |",
             "|---" * (len(judges) + 1) + "|"]
    for load, row in rows.items():
        if not row["pointsman"]["is_bad"]:
            lines.append(f"| {load} | " + " | ".join(f"{row[j]['rolled_back']:,} of {row[j]['runs']:,}" for j in judges) + " |")
    return lines


def summary(text):
    """What the rows say, and whether all is kept."""
    rows = table(text)
    found, kept = promises(rows)
    lines = ["# The verdict: simulated rollouts", "", *found, "", *beside(rows), "", *false_alarms(rows), COMPARED.rstrip(), "",
             "Rows for each load and judge: `verdict.csv`; for each rollout that pointsman took back: `verdict-rollouts.csv`. Again, "
             "with the same figures on any machine: `benches/run verdict`."]
    return "\n".join(lines) + "\n", kept


def run(part):
    rollouts = pathlib.Path(programs.target()).resolve() / "verdict-rollouts.csv"
    command = ["cargo", "bench", "--quiet", "--locked", "--bench", "verdict", "--", "--part", str(part), "--rollouts", str(rollouts)]
    done = subprocess.run(command, cwd=programs.ROOT, check=True, stdout=subprocess.PIPE, text=True)
    text, kept = summary(done.stdout)
    print(text, flush=True)
    if part >= 1:
        results.RESULTS.mkdir(exist_ok=True)
        (results.RESULTS / "verdict.md").write_text(text)
        (results.RESULTS / "verdict.csv").write_text(done.stdout)
        (results.RESULTS / "verdict-rollouts.csv").write_text(rollouts.read_text())
    return kept
