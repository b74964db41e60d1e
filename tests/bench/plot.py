# SPDX-License-Identifier: BSD-3-Clause
"""Draws rate and p99 against depth as SVG, from the rows of tests/bench/run. No library."""

import math

WIDTH, HEIGHT, LEFT, TOP, GAP = 380, 240, 60, 40, 70
SERIES = [("raw TCP, read", "read", "raw", "#999999", ""),
          ("nvmetd, read", "read", "rate", "#1f6fb4", ""),
          ("raw TCP, write", "write", "raw", "#999999", "5,4"),
          ("nvmetd, write", "write", "rate", "#c8501e", "5,4")]


def text(x, y, words, size=11, anchor="middle", extra=""):
    """A text element."""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" {extra}>{words}</text>'


def panel(left, title, unit, series, depths, logarithmic):
    """Axes, grid and one polyline a series. series: (colour, dash, [value a depth])."""
    top_value = max(max(values) for _, _, values in series)
    low = 10 ** math.floor(math.log10(min(min(values) for _, _, values in series))) if logarithmic else 0
    step = 10 ** math.floor(math.log10(top_value))
    step = step / 2 if top_value / step < 4 else step
    high = 10 ** math.ceil(math.log10(top_value)) if logarithmic else math.ceil(top_value / step) * step

    def x_of(depth):
        return left + WIDTH * depths.index(depth) / (len(depths) - 1)

    def y_of(value):
        part = (math.log10(value / low) / math.log10(high / low) if logarithmic
                else value / high)
        return TOP + HEIGHT * (1 - part)

    marks = ([10 ** e for e in range(round(math.log10(low)), round(math.log10(high)) + 1)]
             if logarithmic else [i * step for i in range(round(high / step) + 1)])
    out = [text(left + WIDTH / 2, TOP - 14, title, 13)]
    for value in marks:
        out.append(f'<line x1="{left}" x2="{left + WIDTH}" y1="{y_of(value):.1f}" '
                   f'y2="{y_of(value):.1f}" stroke="#dddddd"/>')
        out.append(text(left - 6, y_of(value) + 4, f"{value:g}", anchor="end"))
    for depth in depths:
        out.append(text(x_of(depth), TOP + HEIGHT + 16, depth))
    out.append(text(left + WIDTH / 2, TOP + HEIGHT + 34, f"queue depth ({unit} upwards)"))
    for colour, dash, values in series:
        points = " ".join(f"{x_of(d):.1f},{y_of(v):.1f}" for d, v in zip(depths, values))
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" '
                   f'stroke-dasharray="{dash}"/>')
    return out


def plot(rows):
    """Rows of 4 KiB on memory → an SVG document."""
    rows = {(row["pattern"], row["depth"]): row for row in rows
            if row["medium"] == "memory" and row["bytes"] == 4096 and not row["options"]}
    depths = sorted({depth for _, depth in rows})
    rates = [(colour, dash, [rows[pattern, d][key] / 1000 for d in depths])
             for _, pattern, key, colour, dash in SERIES]
    p99 = [(colour, dash, [rows[pattern, d]["raw_p99" if key == "raw" else "p99"] for d in depths])
           for _, pattern, key, colour, dash in SERIES]
    right = LEFT + WIDTH + GAP
    out = panel(LEFT, "4 KiB, thousand commands a second", "k/s", rates, depths, False)
    out += panel(right, "4 KiB, 99th percentile of latency", "us", p99, depths, True)
    for i, (name, _, _, colour, dash) in enumerate(SERIES):
        x, y = LEFT + 205 * i, TOP + HEIGHT + 62
        out.append(f'<line x1="{x}" x2="{x + 30}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" '
                   f'stroke-width="2" stroke-dasharray="{dash}"/>')
        out.append(text(x + 36, y, name, anchor="start"))
    width, height = right + WIDTH + 20, TOP + HEIGHT + 80
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'font-family="sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n'
            + "\n".join(out) + "\n</svg>\n")
