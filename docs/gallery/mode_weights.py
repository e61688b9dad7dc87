"""What a mode's own mean says: the log of the factor by which the model makes it too rarely."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
from gallery import figure, small

import thermokern as tk

n_paths = 20_000 if not small() else 100
data = tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.3)
weights = [0.5, 0.25, 0.15, 0.07, 0.03]
model = tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.3, weights=weights)
result = tk.taep(model, data, tk.VP(), n_paths=n_paths, n_steps=200)
theory = [math.log(0.2 / weight) for weight in weights]
for mode, expected in zip(result.modes, theory, strict=True):
    print(f"mode {mode.index}: mean {mode.mean}, theory {expected:.4f}")

drawn, axes = plt.subplots(figsize=(5, 3.6), layout="constrained")
means = [mode.mean for mode in result.modes]
axes.plot(theory, theory, color="black", linewidth=0.8, label="ln(0.2/weight)")
axes.errorbar(theory, [m.value for m in means], yerr=[2 * m.stderr for m in means], fmt="o", label="paths of each mode")
axes.set(xlabel="log of the factor, exact", ylabel="mean Δs of the mode's paths, nats")
axes.legend(frameon=False)
figure(drawn, __file__)
