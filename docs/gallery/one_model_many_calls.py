"""One network, many numbers: what t_eps, scheme, prior and the likelihood's bounds make of the same model."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
from gallery import figure, small

import thermokern as tk

steps, n = (3_000, 2_000) if not small() else (20, 50)
law = tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.4)
model = tk.fit_scores(law.sample(10 * n, seed=1), steps=steps, width=64)

warnings.simplefilter("ignore")
rows = {}
for t_eps in (1e-2, 1e-3, 1e-4, 1e-5):
    rows[f"taep, t_eps = {t_eps:g}"] = tk.taep(model, law, n_paths=n, n_steps=100, t_eps=t_eps, seed=7).score_matching
rows["taep, values"] = tk.taep(model, law, n_paths=n, n_steps=100, seed=7).mean
rows["taep, from_prior"] = tk.taep(model, law, n_paths=n, n_steps=100, from_prior=True, seed=7).mean
for k in (20, 100, 400):
    rows[f"sampler, {k} steps"] = tk.taep(model, law, n_paths=n, n_steps=k, scheme="sampler", seed=7).mean
    rows[f"ddpm-large, {k} steps"] = tk.taep(
        model, law, n_paths=n, n_steps=k, scheme="sampler", chain="ddpm-large", seed=7
    ).mean
points = law.sample(n // 4, seed=8)
likelihood = tk.log_likelihood(model, points)
rows["KL by the flow"] = tk.Estimate(
    (law.log_prob(points, likelihood.settings["t_eps"], tk.VP()) - likelihood.values).mean().item(),
    (law.log_prob(points, likelihood.settings["t_eps"], tk.VP()) - likelihood.values).std().item() / len(points) ** 0.5,
    "nats",
)
rows["KL by neighbours"] = tk.knn_divergence(law.sample(5 * n, seed=9), tk.sample(model, n=5 * n, seed=9))
for name, row in rows.items():
    print(f"{name:28} {row}")

drawn, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
for y, row in enumerate(rows.values()):
    axes.errorbar(row.value, y, xerr=2 * row.stderr, fmt="o", color="#2b6cb0", capsize=2)
axes.axvline(0.0, color="black", linewidth=0.8)
axes.set(yticks=range(len(rows)), yticklabels=rows, xlabel="nats, ± 2 standard errors", xscale="symlog")
axes.set_xscale("symlog", linthresh=0.05)
axes.invert_yaxis()
figure(drawn, __file__)
