"""How errors fall with the number of paths: the mean, the score-matching integral, the variance, the average."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
from gallery import figure, small

import thermokern as tk

numbers = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000) if not small() else (20, 40)
data = tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.4)
models = {
    "mild": tk.GaussianMixture.ring(n_modes=5, radius=2.05, std=0.4),
    "one mode at a tenth": tk.GaussianMixture.ring(
        n_modes=5, radius=2.0, std=0.4, weights=[0.02, 0.245, 0.245, 0.245, 0.245]
    ),
    "shifted": tk.GaussianMixture(data.means + 0.8, std=0.4),
}
warnings.simplefilter("ignore")
drawn, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained", sharey=True)
for ax, (name, model) in zip(axes, models.items(), strict=True):
    errors: dict[str, list[float]] = {"mean": [], "score matching": [], "variance": [], "⟨exp(−Δs)⟩": []}
    for n in numbers:
        result = tk.taep(model, data, tk.VP(), n_paths=n, n_steps=100, seed=5)
        estimates = (result.mean, result.score_matching, result.variance, result.fluctuation_theorem)
        for column, estimate in zip(errors.values(), estimates, strict=True):
            column.append(estimate.stderr)
    print(name, result.mean, result.score_matching, result.variance, result.fluctuation_theorem)
    print("   errors at the largest number:", {key: f"{column[-1]:.2g}" for key, column in errors.items()})
    for (label, column), marker in zip(errors.items(), "osv^", strict=True):
        ax.loglog(numbers, column, marker=marker, label=label)
    ax.set(title=name, xlabel="paths")
axes[0].set_ylabel("standard error, nats (variance: nats²)")
axes[0].legend(frameon=False, fontsize=8)
figure(drawn, __file__)
