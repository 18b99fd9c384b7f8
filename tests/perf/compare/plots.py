# SPDX-License-Identifier: BSD-2-Clause
"""SVG plots, drawn by gnuplot from what was measured."""

import re
import shutil
import statistics
import subprocess

from lib.procs import Failure

HEAD = """set terminal svg size 900,{height} dynamic background rgb 'white' font 'sans,13'
set output '{output}'
set title '{title}'
set grid y
set border 3
set tics nomirror
"""


def _quote(text):
    return '"' + str(text).replace('"', "'") + '"'


def _gnuplot(folder, name, title, script, data, height=450):
    """One plot; keeps the script and its data beside it."""
    table = folder / f"{name}.dat"
    table.write_text(data + "\n", encoding="utf-8")
    output = folder / f"{name}.svg"
    text = HEAD.format(height=height, output=output, title=title) + script.replace("DATA", f"'{table}'")
    (folder / f"{name}.gp").write_text(text, encoding="utf-8")
    done = subprocess.run(["gnuplot", folder / f"{name}.gp"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    if done.returncode or not output.exists():
        raise Failure(f"gnuplot {name}:\n{done.stdout}")
    return output


def _headline(rows):
    """One row per work and peer: the class with most windows."""
    best = {}
    for r in rows:
        key = r["work"], r["peer"], r["unit"]
        if r["ratio_median"] and (key not in best or r["windows"] > best[key]["windows"]):
            best[key] = r
    return list(best.values())


def ratios(rows, folder):
    """Every ratio with its own spread."""
    shown = [r for r in _headline(rows) if r["target"]]
    if not shown:
        return None
    data = "\n".join(f"{i} {r['ratio_median']} {r['ratio_p5']} {r['ratio_p95']} "
                     + _quote(f"{r['work']} / {r['peer']}, {r['placement']} ({r['target']})")
                     for i, r in enumerate(reversed(shown)))
    script = f"""set yrange [-0.7:{len(shown) - 0.3}]
set xlabel 'ours / peer (target in brackets)'
set grid x
set logscale x 2
set lmargin at screen 0.6
set ytics font ',10'
unset key
set arrow from 1, graph 0 to 1, graph 1 nohead lc rgb 'gray'
plot DATA using 2:1:3:4:ytic(5) notitle with xerrorbars pt 7 ps 0.8 lc rgb '#1f77b4'
"""
    return _gnuplot(folder, "ratios", "Ours against each peer: median, p5, p95", script, data, 200 + 24 * len(shown))


def rates(groups, results, folder):
    """Frames per second by frame size and side, for the class with most windows."""
    sizes = [g for g in groups if re.fullmatch(r"\d+", g.name) and results[g.name].windows]
    sides = [s for s in ("vm", "host", "dpdk-io", "ovs-normal", "ovs-flows") if any(results[g.name].of(s) for g in sizes)]
    lines = []
    for group in sizes:
        windows = [w for ws in results[group.name].windows.values() for w in ws if w.counts("rate")]
        if not windows:
            continue
        classes = [w.placement for w in windows]
        cls = max(set(classes), key=classes.count)
        cells = []
        for side in sides:
            values = [w.values["rate"] / 1e6 for w in results[group.name].of(side) if w.placement == cls and w.counts("rate")]
            cells.append(f"{statistics.median(values):.4g}" if values else "NaN")
        lines.append(_quote(f"{group.name} B\\n({cls})") + " " + " ".join(cells))
    if not lines:
        return None
    data = "x " + " ".join(_quote(s) for s in sides) + "\n" + "\n".join(lines)
    script = f"""set style data histogram
set style histogram clustered gap 1
set style fill solid 0.8 border -1
set ylabel 'M frames/s, both ways'
set yrange [0:*]
set key top right
plot for [i=2:{len(sides) + 1}] DATA using i:xtic(1) title columnheader(i)
"""
    return _gnuplot(folder, "rates", "Two ports, one back-end core, front-end on the other", script, data)


def round_trips(results, folder):
    """p50 and p99 by side."""
    result = results.get("rtt-64")
    if not result or not result.windows:
        return None
    lines = []
    for side, windows in result.windows.items():
        good = [w for w in windows if w.counts("p50") and w.counts("p99")]
        for cls in ("near", "far"):
            chosen = [w for w in good if w.placement == cls]
            if chosen:
                p50, p99, limit = (statistics.median(w.values[k] for w in chosen) / 1000 for k in ("p50", "p99", "pingpong"))
                lines.append(_quote(f"{side}\\n{cls}") + f" {p50:.4g} {p99:.4g} {limit:.4g}")
    if not lines:
        return None
    script = """set style data histogram
set style histogram clustered gap 1
set style fill solid 0.8 border -1
set ylabel 'microseconds'
set yrange [0:*]
set key top left
set xtics font ',10'
plot DATA using 2:xtic(1) title 'p50', '' using 3 title 'p99', '' using 4 title 'cache-line ping-pong'
"""
    return _gnuplot(folder, "round-trips", "Round trip of one 64 B frame", script, "\n".join(lines))


def ports(results, folder):
    """Cost per frame over the number of ports."""
    result = results.get("ports")
    if not result:
        return None
    lines = []
    for side, windows in result.windows.items():
        good = [w for w in windows if w.counts("ns")]
        if good:
            ns = sorted(w.values["ns"] for w in good)
            cycles = [w.values["cycles"] for w in good if w.values.get("cycles")]
            lines.append(f"{side.split()[0]} {statistics.median(ns):.4g} {ns[len(ns) // 20]:.4g} {ns[-1 - len(ns) // 20]:.4g} "
                         + (f"{statistics.median(cycles):.4g}" if cycles else "NaN"))
    if len(lines) < 2:
        return None
    script = """set logscale x 2
set xlabel 'ports, uniform random traffic, 64 B'
set ylabel 'ns per frame'
set yrange [0:*]
set xrange [1.5:48]
plot DATA using 1:2:3:4 with yerrorlines pt 7 title 'ns per frame'"""
    if any(not line.endswith("NaN") for line in lines):
        script = "set y2label 'busy cycles per frame'\nset y2tics\nset y2range [0:*]\n" + script + \
                 ", '' using 1:5 axes x1y2 with linespoints pt 5 title 'busy cycles per frame'"
    return _gnuplot(folder, "ports", "Cost of a frame against the number of ports", script, "\n".join(lines))


def over_time(results, folder):
    """Windows of the main group as they came, with the distance of the processors."""
    result = results.get("64")
    if not result or not result.windows:
        return None
    sides = [s for s in ("vm", "dpdk-io", "ovs-normal") if result.of(s)]
    blocks = ["\n".join(f"{w.at:.2f} {w.values['rate'] / 1e6:.4g} {w.values.get('pingpong', 'NaN')}" for w in result.of(s))
              for s in sides]
    script = "set xlabel 'seconds since the start of the run'\nset ylabel 'M frames/s'\nset y2label 'ping-pong, ns'\n" \
             "set y2tics\nset yrange [0:*]\nset y2range [0:*]\nset key outside bottom horizontal\n" \
             "plot " + ", ".join(f"DATA index {i} using 1:2 with points pt 7 ps 0.6 title '{s}'" for i, s in enumerate(sides)) \
             + ", DATA index 0 using 1:3 axes x1y2 with lines lc rgb 'gray' title 'ping-pong'\n"
    return _gnuplot(folder, "windows", "Windows of 64 B traffic as they came", script, "\n\n\n".join(blocks))


def draw(rows, groups, results, folder, screen):
    """All plots that the run has data for; a list of files."""
    if not shutil.which("gnuplot"):
        screen.step("no plots: gnuplot is missing (Debian package gnuplot-nox)")
        return []
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for make in (lambda: ratios(rows, folder), lambda: rates(groups, results, folder), lambda: round_trips(results, folder),
                 lambda: ports(results, folder), lambda: over_time(results, folder)):
        try:
            plot = make()
        except Failure as error:
            screen.step(f"a plot is missing: {error}")
            continue
        if plot:
            drawn.append(plot)
    return drawn
