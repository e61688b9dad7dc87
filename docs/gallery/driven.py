"""A driven system: the entropy that a rotating force makes, path by path, and its fluctuation theorem."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from gallery import figure, small

import thermokern as tk

n_paths = 20_000 if not small() else 200
drawn, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
for omega, color in ((0.5, "#2b6cb0"), (1.0, "#2f855a"), (2.0, "#dd6b20")):
    force = tk.LinearForce(torch.tensor([[1.0, omega], [-omega, 1.0]]))
    result = tk.entropy_production(force, 1.0, tk.Gaussian([0.0, 0.0], 1.0), n_paths=n_paths, n_steps=200)
    total = result.total
    print(f"ω {omega}: total {total.mean}, theory {2 * omega**2:g}, <exp(-S)> {total.fluctuation_theorem}")
    axes.hist(total.values.numpy(), 100, histtype="step", density=True, color=color, label=f"ω = {omega:g}")
axes.set(xlabel="total entropy production of a path, nats", ylabel="density", yscale="log")
axes.legend(frameon=False)
figure(drawn, __file__)
