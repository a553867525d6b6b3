"""The figures as one plain table."""
from __future__ import annotations

from statistics import median

MS, MIB = 1000, 1 / 1024 ** 2


def spread(values: list[float], scale: float) -> str:
    if len(values) == 1:
        return f"{values[0] * scale:.1f}"
    return f"{median(values) * scale:.1f} ({min(values) * scale:.1f} … {max(values) * scale:.1f})"


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the pairs' ratios."""
    return median(a / b for a, b in zip(ours, theirs))


def met(good: bool) -> str:
    return "met" if good else "MISSED"


def line(name: str, *cells: str) -> str:
    widths = (25, 25, 9)
    return f"  {name:<44}" + "".join(f" {cell:<{width}}" for cell, width in zip(cells, widths)) + " ".join(cells[3:])


def compare(samples: dict, name: str, key: str) -> str:
    ours, theirs = samples[f"product_{key}"], samples[f"scripts_{key}"]
    return line(name, spread(ours, MS), spread(theirs, MS), f"{ratio(ours, theirs):.2f}")


def unchanged(s: dict) -> list[str]:
    times = 1 / ratio(s["product_cpu"], s["scripts_cpu"])
    return [f"An unchanged pass of the pusher, ms; {len(s['product_cpu'])} pairs",
            line("", "product", "scripts", "ratio"),
            compare(s, "CPU", "cpu") + f" {times:.0f} times less, at least 20 wanted: {met(times >= 20)}",
            compare(s, "wall", "wall"),
            line("an empty process: CPU", spread(s["empty_cpu"], MS)),
            line("an empty process: wall", spread(s["empty_wall"], MS))]


def full_push(s: dict) -> list[str]:
    less = ratio(s["product_cpu"], s["scripts_cpu"])
    return [f"A renewed certificate, ms; {len(s['product_cpu'])} pairs; the product until all ports are verified, the"
            " scripts until the reloads are ordered",
            line("", "product", "scripts", "ratio"),
            compare(s, "CPU, both hosts", "cpu") + f" less than 1 wanted: {met(less < 1)}",
            compare(s, "  proxy host", "proxy"),
            compare(s, "  mail host", "mail"),
            line("    of it the deployer's start", spread(s["product_start"], MS)),
            line("    of it deploy.sh", "", spread(s["scripts_deploy"], MS)),
            compare(s, "wall (scripts: without the timers' pause)", "wall"),
            compare(s, "not counted above: Docker Engine, CPU", "engine"),
            compare(s, "not counted above: the containers, CPU", "containers")]


def far_away(s: dict) -> list[str]:
    rows = [f"Over 100 ms of round trip, ms from the command's start; {len(s['verdict'])} rounds",
            line("", "", "of ssh+cat", "of rsync")]
    names = {"connected": "product: connected", "opened": "product: session open", "greeted": "product: wants known",
             "judged": "product: bundle judged", "verdict": "product: verdict, nothing to reload",
             "product_exit": "product: its end", "renewal": "product: verdict after reload and verification"}
    for key, name in names.items():
        cells = [f"{ratio(s[key], s[other]):.2f}" for other in ("cat", "rsync")]
        target = ""
        if key in ("judged", "verdict"):
            good = ratio(s[key], s["cat"]) <= 0.75 and ratio(s[key], s["rsync"]) <= 0.55
            target = f"at most 0.75 and 0.55 wanted: {met(good)}"
        rows.append(line(name, spread(s[key], MS), *cells, target))
    return [*rows, line("ssh with cat", spread(s["cat"], MS)), line("rsync", spread(s["rsync"], MS))]


def memory(s: dict) -> list[str]:
    names = {"pusher_unchanged": ("pusher, unchanged pass", 12), "pusher": ("pusher, full push", 12),
             "pusher_session": ("  its SSH session", 12), "deployer": ("deployer, daemon", 16),
             "deployer_session": ("  its session", 16), "deployer_judge": ("  its judge", 16)}
    return ["Peak resident memory, MiB",
            *(line(name, spread(s[key], MIB), f"under {limit} wanted: {met(s[key][0] * MIB < limit)}")
              for key, (name, limit) in names.items())]


def table(results: dict) -> str:
    parts = {"unchanged": unchanged, "full-push": full_push, "far-away": far_away, "memory": memory}
    return "\n\n".join("\n".join(row.rstrip() for row in parts[name](samples)) for name, samples in results.items()) + "\n"
