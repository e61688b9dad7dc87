"""At which times a sampler of few steps should place them, and what is gained."""

from __future__ import annotations

import matplotlib.pyplot as plt
from gallery import figure, small

import thermokern as tk

n_paths = 2_000 if not small() else 100
data, process = tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.3), tk.VP()
schedules = tk.optimal_schedule(
    data, data, process, sampler="ddpm-large", n_paths=n_paths, n_times=64, n_steps=(5, 10, 20)
)
print(schedules.summary())
drawn, axes = plt.subplots(figsize=(6, 3.0), layout="constrained")
for row, k in enumerate((5, 10, 20)):
    times = schedules.times(k)
    axes.plot(times, [row] * len(times), "o", color="#2b6cb0")
    axes.plot(process.grid(k), [row + 0.25] * (k + 1), "x", color="#dd6b20")
axes.plot([], [], "o", color="#2b6cb0", label="optimal")
axes.plot([], [], "x", color="#dd6b20", label="the default grid")
axes.set(
    xscale="log", xlabel="time", yticks=range(3), yticklabels=["5 steps", "10 steps", "20 steps"], ylim=(-1.1, 2.6)
)
axes.legend(frameon=False, loc="lower left", ncols=2)
figure(drawn, __file__)
