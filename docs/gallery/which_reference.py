"""Which reference for real data? One network against the exact law, points, smoothed points, another network."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
from gallery import figure, small

import thermokern as tk

steps, n_paths, n_points = (1_500, 1_000, 2_000) if not small() else (20, 50, 100)
law = tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.4)  # the truth, which real data do not have
train, held_out = law.sample(n_points, seed=1), law.sample(n_points, seed=2)
model = tk.fit_scores(train, steps=steps, width=64, seed=1)
frozen = tk.fit_scores(law.sample(10 * n_points, seed=3), steps=2 * steps, width=96, seed=2)

references = {
    "exact law": law,
    "points, training": tk.Empirical(train),
    "points, held out": tk.Empirical(held_out),
    **{f"held out, smoothed {h:g}": tk.GaussianMixture(held_out, std=h) for h in (0.05, 0.1, 0.2, 0.4)},
    "larger network": frozen,
}
rows = {}
for name, reference in references.items():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = {"x0": held_out[:n_paths]} if reference is frozen else {"n_paths": n_paths}
        rows[name] = result = tk.taep(model, reference, tk.VP(), n_steps=100, **paths)
    average = result.fluctuation_theorem
    print(f"{name:24} {result.mean}  {result.score_matching}  {result.variance}  {average} {average.is_reliable}")

figure_, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
for y, result in enumerate(rows.values()):
    axes.errorbar(result.score_matching.value, y, xerr=2 * result.score_matching.stderr, fmt="o", color="#2b6cb0")
axes.axvline(rows["exact law"].score_matching.value, color="#dd6b20", linestyle="--", label="the exact law's")
axes.set(yticks=range(len(rows)), yticklabels=rows, xlabel="mean TAEP, nats", xscale="log")
axes.invert_yaxis()
axes.legend(frameon=False)
figure(figure_, __file__)
