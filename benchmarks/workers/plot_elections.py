"""Draws figure 16: the share of trials in which a leader was there after so many ms. Run in an environment of its own."""

import json
import sys

import matplotlib  # type: ignore[import-not-found, unused-ignore]

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "leasekit"  # the same figures give the same file

from matplotlib import pyplot as plt  # type: ignore[import-not-found, unused-ignore]

plots = json.load(sys.stdin)
figure, axes = plt.subplots(len(plots), 1, figsize=(8, 8), layout="constrained")
titles = {"randomness": "The more the time-outs differ, ...", "scale": "... and the shorter they are, the sooner"}
for axis, (name, results) in zip(axes, plots.items(), strict=True):
    for label, took_ms in results.items():
        shares = [100 * (place + 1) / len(took_ms) for place in range(len(took_ms))]
        axis.step(took_ms, shares, where="post", label=label)
    axis.set_title(titles[name])
    axis.set_xscale("log" if name == "randomness" else "linear")
    axis.set_xlabel("time without a leader, ms")
    axis.set_ylabel("trials, cumulative %")
    axis.grid(visible=True, alpha=0.3)
    axis.legend(loc="lower right")
figure.savefig(sys.argv[1], metadata={"Date": None})
