"""Along training: TAEP beside the loss, the negative log-likelihood, the Fréchet distance and coverage."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
import numpy as np
import scipy.linalg
import torch
from gallery import figure, small

import thermokern as tk

stops, n = ((100, 200, 400, 800, 1_600, 3_200), 2_000) if not small() else ((2, 4), 60)
law = tk.GaussianMixture.ring(n_modes=5, radius=2.0, std=0.4)
points, held_out = law.sample(10 * n, seed=1).float(), law.sample(n, seed=2)
network = tk.ScoreMLP(dim=2, width=64)
model = tk.ScoreModel(network, tk.VP(), predicts="epsilon", shape=(2,))
optimiser = torch.optim.Adam(network.parameters(), 2e-3)
generator = torch.Generator().manual_seed(0)
warnings.simplefilter("ignore")


def frechet(x: torch.Tensor, y: torch.Tensor) -> float:
    """Fréchet distance of the Gaussians with the moments of two samples, as in FID, but in the plane itself."""
    a, b = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(a @ b).real
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root))


rows, step, running = [], 0, 0.0
for stop in stops:
    while step < stop:
        batch = points[torch.randint(len(points), (512,), generator=generator)]
        loss = tk.score_matching_loss(model, batch, generator=generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step, running = step + 1, 0.98 * running + 0.02 * loss.item() if step else loss.item()
    network.eval()
    result = tk.taep(model, law, n_paths=n, n_steps=200, seed=7)
    samples = tk.sample(model, n=n, n_steps=200, seed=8).double()
    nll = -tk.log_likelihood(model, held_out[:200]).values.mean().item()
    cover = tk.coverage(held_out, samples).coverage
    rows.append((step, running, result.score_matching.value, result.variance.value, nll, cover.value))
    rows[-1] += (tk.knn_divergence(held_out, samples).value, frechet(held_out.double(), samples))
    print(
        "step {} loss {:.3f} TAEP {:.3f} variance {:.3f} NLL {:.3f} coverage {:.3f} KL {:.3f} FD {:.4f}".format(
            *rows[-1]
        )
    )
    network.train()

names = ("loss", "mean TAEP, nats", "variance, nats²", "NLL, nats", "coverage", "KL by neighbours", "Fréchet distance")
drawn, axes = plt.subplots(2, 4, figsize=(11, 5), layout="constrained")
for ax, column, name in zip(axes.flat, list(zip(*rows, strict=True))[1:], names, strict=False):
    ax.plot(stops, column, marker="o", color="#2b6cb0")
    ax.set(title=name, xscale="log", xlabel="training step")
axes.flat[-1].set_axis_off()
figure(drawn, __file__)
