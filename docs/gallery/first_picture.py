"""The README's picture: a model that makes one of five modes ten times too rarely, and the Δs of each path."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from gallery import figure, small

import thermokern as tk

BLUE, ORANGE = "#2b6cb0", "#dd6b20"
n_paths = 20_000 if not small() else 200
data = tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.4)
model = tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.4, weights=[0.02, 0.245, 0.245, 0.245, 0.245])
process = tk.VP()
result = tk.taep(model, data, process, n_paths=n_paths, n_steps=200)
rare = result.modes[0]
print(result.summary())

drawn, (left, middle, right) = plt.subplots(1, 3, figsize=(8, 3.0), layout="constrained", width_ratios=[1, 1, 1.4])
clouds = ((left, data.sample(800, seed=1), "the data"), (middle, model.sample(800, seed=1), "samples of the model"))
for axes, points, title in clouds:
    near = (points - data.means[0]).norm(dim=1) < 1.2
    axes.scatter(*points[~near].T, s=4, color=BLUE, alpha=0.5)
    axes.scatter(*points[near].T, s=8, color=ORANGE, marker="s")
    axes.set(title=title, xlim=(-3.6, 3.6), ylim=(-3.6, 3.6), aspect="equal", xticks=[], yticks=[])
values, start = result.values.numpy(), result.start_component.numpy()
bins = np.linspace(-1.0, 4.0, 80)
right.hist(values[start != 0], bins, color=BLUE, alpha=0.8, label="paths from four modes")
right.hist(values[start == 0], bins, color=ORANGE, alpha=0.9, label="paths from the rare mode")
right.axvline(result.mean.value, ymax=0.65, color="black", linestyle="--", label=f"mean {result.mean.value:.2f} nats")
right.set(title="Δs of each path", xlabel="Δs, nats", ylabel="paths", yscale="log", ylim=(0.6, 150 * n_paths))
right.legend(frameon=False, loc="upper right")  # the mean's line ends below it
figure(drawn, __file__)
