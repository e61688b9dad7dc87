"""How numbers grow with the dimension: the same error in every direction, from 1 to 64 of them."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
from gallery import figure, small

import thermokern as tk

dims, n = ((1, 2, 4, 8, 16, 32, 64), 4_000) if not small() else ((1, 2), 50)
warnings.simplefilter("ignore")
rows = []
for dim in dims:
    data, model = tk.Gaussian([0.0] * dim, 1.0), tk.Gaussian([0.0] * dim, 1.2)  # variances 1 and 1.2
    result = tk.taep(model, data, tk.VP(), n_paths=n, n_steps=100, scheme="stratonovich")
    average = result.fluctuation_theorem
    rows.append((result.mean, result.variance, average))
    print(f"d {dim:3}  mean {result.mean}  per dimension {result.mean.value / dim:.4f}  variance {result.variance}")
    print(f"       <exp(-TAEP)> {average}  {average.effective_sample_size / n:.1%}  k {average.pareto_shape:.2f}")

drawn, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
for label, column, marker in (("mean, nats", 0, "o"), ("variance, nats²", 1, "s")):
    left.loglog(dims, [row[column].value for row in rows], marker=marker, label=label)
left.set(xlabel="dimension", title="both grow as the dimension")
left.legend(frameon=False)
right.errorbar(dims, [row[2].value for row in rows], yerr=[2 * row[2].stderr for row in rows], marker="o", capsize=2)
right.axhline(1.0, color="black", linewidth=0.8)
right.set(xscale="log", xlabel="dimension", title=f"⟨exp(−Δs)⟩ of {n} paths")
figure(drawn, __file__)
