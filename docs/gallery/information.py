"""How much a label tells, over noise levels: the information is lost where the classes begin to overlap."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
from gallery import figure, small

import thermokern as tk

evaluations = 40_000 if not small() else 2_000
warnings.simplefilter("ignore")
drawn, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for distance, line in ((0.5, ":"), (1.0, "--"), (3.0, "-")):
    law = tk.Labelled([tk.Gaussian([-distance, 0.0], 0.3), tk.Gaussian([distance, 0.0], 0.3)])
    result = tk.mutual_information(law, process=tk.VP(), evaluations=evaluations)
    print(f"distance {2 * distance:g}: {result.gap} nats of ln 2 = 0.693")
    curve = result.curve
    axes.plot(curve.log_snr, curve.cumulative, linestyle=line, label=f"means {2 * distance:g} apart")
axes.axhline(0.6931, color="black", linewidth=0.8)
axes.set(xlabel="log signal-to-noise ratio", ylabel="information from larger noise, nats")
axes.legend(frameon=False)
figure(drawn, __file__)
