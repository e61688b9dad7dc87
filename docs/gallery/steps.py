"""The error of the time step: plain sums, extrapolated values, and three grids."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
from gallery import figure, small

import thermokern as tk

numbers, n_paths = ((10, 20, 50, 100, 200, 500), 4_000) if not small() else ((10, 20), 50)
data = tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.1)
model = tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.13)
warnings.simplefilter("ignore")
drawn, axes = plt.subplots(figsize=(6, 3.8), layout="constrained")
for spacing, marker in (("uniform", "o"), ("log-snr", "s"), ("mixed", "^")):
    for extrapolate, line in ((False, "--"), (True, "-")):
        errors = []
        for n_steps in numbers:
            result = tk.taep(
                model, data, tk.VP(), n_paths=n_paths, n_steps=n_steps, spacing=spacing, extrapolate=extrapolate
            )
            errors.append(abs(result.endpoint_error.mean.value))
        label = f"{spacing}, {'extrapolated' if extrapolate else 'plain'}"
        axes.loglog(numbers, errors, marker=marker, linestyle=line, label=label)
        print(label, *(f"{error:.2g}" for error in errors))
axes.set(xlabel="steps", ylabel="|error of the mean|, nats")
axes.legend(frameon=False, fontsize=8)
figure(drawn, __file__)
