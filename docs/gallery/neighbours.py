"""Entropy and divergence from points alone: how estimates by nearest neighbours approach the exact ones."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
from gallery import figure, small

import thermokern as tk

numbers = (300, 1_000, 3_000, 10_000, 30_000) if not small() else (100, 200)
warnings.simplefilter("ignore")
p, q = tk.Gaussian([0.0, 0.0], 1.0), tk.Gaussian([0.5, 0.0], 1.0)
entropy, divergence = 2.8379, 0.125  # ln(2πe), and half the squared distance
rows = [(tk.kozachenko_leonenko(p.sample(n, 1)), tk.knn_divergence(p.sample(n, 1), q.sample(n, 2))) for n in numbers]
drawn, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for ax, column, exact, name in zip(
    axes, zip(*rows, strict=True), (entropy, divergence), ("entropy", "KL"), strict=True
):
    ax.errorbar(numbers, [e.value for e in column], yerr=[2 * e.stderr for e in column], fmt="o", capsize=2)
    ax.axhline(exact, color="black", linewidth=0.8)
    ax.set(xscale="log", xlabel="points", title=f"{name}, nats")
    print(name, exact, *column)
figure(drawn, __file__)
