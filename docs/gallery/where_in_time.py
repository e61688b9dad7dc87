"""At which noise levels a model errs: two models with the same kind of mean, one wrong in detail, one at large."""

from __future__ import annotations

import matplotlib.pyplot as plt
from gallery import figure, small

import thermokern as tk

n_paths = 2_000 if not small() else 40
data = tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.3)
models = {
    "modes too wide (0.4, not 0.3)": tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.4),
    "one mode at a tenth": tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.3, weights=[0.02, *[0.245] * 4]),
}
drawn, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    result = tk.taep(model, data, tk.VP(), n_paths=n_paths, n_steps=100, resolve=("time",))
    print(name, result.mean)
    rate = result.rate
    ax.plot(rate.log_snr, rate.values, color="#2b6cb0", linewidth=0.8, label="of the paths")
    ax.plot(rate.log_snr, rate.squared, color="#dd6b20", linestyle="--", label="½ v |δ|², less noisy")
    ax.axhline(0.0, color="black", linewidth=0.8)
    ax.set(title=name, xlabel="log signal-to-noise ratio: noise left, detail right", ylabel="nats per unit")
axes[0].legend(frameon=False)
figure(drawn, __file__)
