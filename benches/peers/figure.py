"""The figure: processor time by nginx's, for the main workloads, as SVG without any library or font of its own.

Reads in light and in dark surroundings: colours follow `prefers-color-scheme`.
"""
from lab import results
from . import report

ROWS = {
    "get-64": ("Small GET", "64 keep-alive connections"), "close": ("New connection", "for each request"),
    "h2": ("HTTP/2", "over TLS, 100 streams"), "tls": ("TLS", "64 keep-alive connections"),
    "handshakes": ("TLS handshake", "and one request"), "down-1m": ("1 MiB down", "a megabyte"), "up-1m": ("1 MiB up", "a megabyte"),
    "websocket": ("WebSocket", "a message there and back"),
}
BARS = (("pointsman", "pointsman"), ("nginx", "nginx"), ("haproxy", "HAProxy"), ("envoy", "Envoy"), ("caddy", "Caddy"))
COLUMNS, WIDTH, LABEL, BAR, GAP, PANEL = 2, 880, 70, 13, 4, 126
MOST = 4.0  # times nginx; longer bars are cut and say so
STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 } .name { font-weight: 600 } .soft { fill: #59636e } .value { font-size: 11px }
.own { fill: #0a7d5a } .peer { fill: #b4bcc6 } .one { fill: #8c96a3 } .ownvalue { font-weight: 600 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .soft { fill: #9198a1 } .own { fill: #3fb98a } .peer { fill: #4a525c } .one { fill: #707a86 }
}"""


def panel(rows, workload, left, top, width):
    """One workload: a bar for each subject."""
    name, note = ROWS[workload]
    scale = (width - LABEL - 80) / MOST
    x = left + LABEL
    lines = [f'<text x="{left}" y="{top}"><tspan class="name">{name}</tspan> <tspan class="soft">{note}</tspan></text>']
    colours = {"pointsman": "own", "nginx": "one"}
    for index, (subject, shown) in enumerate(BARS):
        found = [1.0] if subject == "nginx" else report.ratios(rows, workload, subject, "nginx")
        if not found:
            continue
        value, y = results.median(found), top + 9 + index * (BAR + GAP)
        long = min(value, MOST)
        own = subject == "pointsman"
        lines.append(f'<text class="soft value" x="{x - 6}" y="{y + 10}" text-anchor="end">{shown}</text>')
        lines.append(f'<rect class="{colours.get(subject, "peer")}" x="{x}" y="{y}" width="{long * scale:.1f}" height="{BAR}" rx="2"/>')
        more = " →" if value > MOST else ""
        lines.append(f'<text class="value{" ownvalue" if own else ""}" x="{x + long * scale + 5:.1f}" y="{y + 10}">{value:.2f}{more}</text>')
    return lines


def svg(rows):
    """The whole figure."""
    shown = [workload for workload in ROWS if report.figures(rows, workload, "pointsman") and report.figures(rows, workload, "nginx")]
    width, top = WIDTH // COLUMNS, 66
    height = top + -(-len(shown) // COLUMNS) * PANEL
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
             'aria-label="Processor time of pointsman and four other proxies for the same work, relative to nginx">',
             f"<style>{STYLE}</style>",
             '<text class="title" x="12" y="22">Processor time for the same work, nginx = 1</text>',
             '<text class="soft" x="12" y="42">One core each, all features of pointsman on. Shorter is better. Medians of paired rounds.</text>']
    for index, workload in enumerate(shown):
        lines += panel(rows, workload, 12 + index % COLUMNS * width, top + 12 + index // COLUMNS * PANEL, width)
    return "\n".join([*lines, "</svg>"]) + "\n"
