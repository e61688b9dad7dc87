"""A model that invents a mode: ⟨exp(−Δs)⟩ is one minus the weight of what it invents."""

from __future__ import annotations

import matplotlib.pyplot as plt
from gallery import figure, small

import thermokern as tk

n_paths = 10_000 if not small() else 100
shares = (0.01, 0.03, 0.1, 0.2, 0.4)
data = tk.Gaussian([0.0, 0.0], 0.16)
averages = []
for share in shares:
    model = tk.GaussianMixture([[0.0, 0.0], [6.0, 0.0]], std=0.4, weights=[1 - share, share])
    averages.append(tk.taep(model, data, tk.VP(), n_paths=n_paths, n_steps=200).fluctuation_theorem)
    print(f"invented {share:g}: <exp(-TAEP)> {averages[-1]}, 1 less that {1 - averages[-1].value:.4f}")

drawn, axes = plt.subplots(figsize=(5, 3.6), layout="constrained")
axes.plot(shares, [1 - share for share in shares], color="black", linewidth=0.8, label="1 − weight")
values, errors = [average.value for average in averages], [2 * average.stderr for average in averages]
axes.errorbar(shares, values, yerr=errors, fmt="o", label="⟨exp(−Δs)⟩")
axes.set(xlabel="weight of the mode that the data do not have", ylabel="⟨exp(−Δs)⟩")
axes.legend(frameon=False)
figure(drawn, __file__)
