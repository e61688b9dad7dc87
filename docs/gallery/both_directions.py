"""The detailed fluctuation theorem: the histograms of forward and of reverse paths differ by e^a."""

from __future__ import annotations

from gallery import figure, small

import thermokern as tk

n_paths = 20_000 if not small() else 300
data = tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.4)
model = tk.GaussianMixture.ring(n_modes=5, radius=2.15, std=0.45)
options = {"n_paths": n_paths, "n_steps": 500}
forward = tk.taep(model, data, tk.VP(), **options)
reverse = tk.taep(model, data, tk.VP(), direction="reverse", **options)
theorem = tk.detailed_fluctuation_theorem(forward, reverse)
print(theorem.summary())

figure(theorem.plot(), __file__)
