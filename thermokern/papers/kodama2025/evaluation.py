"""The likelihoods and bounds of one network against a law that is known, with errors far below their spread.

Every average is of a difference between the network and the exact score along the same paths, and the entropies of the
law are those of its closed form: what the paths have in common cancels.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from thermokern.models import ScoreModel
from thermokern.quantities import Estimate, log_likelihood
from thermokern.quantities.likelihood import rate_averages as ra
from thermokern.quantities.likelihood.rates import averages_of, rates_from
from thermokern.quantities.results.estimate import mean_estimate
from thermokern.targets import Distribution

STEPS = 128  # of the log-SNR grid that rates are integrated over


def evaluate_network(
    model: ScoreModel, law: Distribution, *, n_paths: int, n_likelihood: int, seed: int = 0
) -> dict[str, Any]:
    """Likelihoods and bounds of a network, nats above S_data, each as ``[value, standard error]``.

    With ``E = ∫D E|s_θ|²dt``, E_* that of the true score, ``M = ∫D E|s_θ − s_*|²dt``, and S(p_T) − S_data = ∫Ṡ_* dt:

    - ``kl_ode``: NLL of the probability-flow equation less S_data
    - ``kl_plugin``: the plug-in NLL less S_data, ``½(M − E + E_*)``
    - ``lower_bound``: of Kodama and Hinczewski, Eq. 6, less S_data, ``½(E_* − E)``
    - ``elbo``: ``M + KL(p_T‖π)``, above the SDE sampler's NLL less S_data
    - ``entropy_bound``: ``2 NLL_ODE + ∫Ṡ_θ − S(p_T)`` less S_data, ``2 kl_ode + E − E_*``
    - ``entropy_bound_plugin``: the same with the plug-in NLL, which is M
    - ``gap_ode``, ``gap_plugin``: NLL less the lower bound
    - ``squared_difference``: M; ``dissipation``: ``∫Ṡ_i dt``; ``prior_mismatch``: KL(p_T‖π)
    - ``worst_point``: the largest ``log p_data − log p_ODE`` of one point: the mean over points may hang on it, where
      the model's flow carries a point far away from the prior
    - ``stein``: ``∫D E[∇·s_θ + s_θ·s_*]dt``, 0 by Stein's identity
    - ``polarisation``: M again, as ``E + S(p_T) − S_data − ∫f d dt + 2∫D E[∇·s_θ]dt``, less M: 0 by Stein's identity
      and the entropy balance

    Parameters
    ----------
    model : ScoreModel
    law : Distribution
        Of the data.
    n_paths, n_likelihood : int
        Paths that rates are averaged over, and how many of their first points likelihoods are taken of.
    """
    process = model.process
    averages, settings = averages_of(
        model,
        law,
        process,
        n_paths=n_paths,
        n_steps=STEPS,
        t_eps=None,
        spacing="log-snr",
        divergence="exact",
        probes=1,
        seed=seed,
        path_offset=0,
        backend="auto",
        dtype=None,
        progress=False,
    )
    start = averages.times[0].item()
    scale = process.mean_scale(start)
    x_start, x_end = averages.x_start.double(), averages.x_end.double()
    shift = law.dim * math.log(scale)
    surprise = -law.log_prob(x_start, start, process) - shift  # (n,)
    noise = -law.log_prob(x_end, process.t_end, process)
    prior = -process.prior(law.dim).log_prob(x_end)
    likelihood = log_likelihood(model, x_start[:n_likelihood] / scale, process, t_eps=start)
    kl_ode = -likelihood.values.double() - surprise[:n_likelihood]  # (n_likelihood,)

    energy, mismatch, cross, divergence = (
        averages.integrals[:, column] for column in (ra.ENERGY, ra.MISMATCH, ra.CROSS, ra.DIVERGENCE)
    )
    excess = 2.0 * energy - mismatch - 2.0 * cross  # D (|s_θ|² − |s_*|²)
    drift = law.dim * (averages.weight * averages.force).sum()
    dissipation = rates_from(averages, process, {**settings, "direction": "forward"}).intrinsic
    first = excess[:n_likelihood]
    polarisation = energy + 2.0 * divergence + noise - surprise - shift - drift - mismatch
    rows = {
        "kl_ode": kl_ode,
        "kl_plugin": 0.5 * (mismatch - excess),
        "lower_bound": -0.5 * excess,
        "elbo": mismatch + prior - noise,
        "entropy_bound": 2.0 * kl_ode + first,
        "entropy_bound_plugin": mismatch,
        "gap_ode": kl_ode + 0.5 * first,
        "gap_plugin": 0.5 * mismatch,
        "squared_difference": mismatch,
        "prior_mismatch": prior - noise,
        "stein": divergence + cross,
        "polarisation": polarisation,
    }
    pairs = {name: _pair(mean_estimate(values)) for name, values in rows.items()}
    return {
        **pairs,
        "dissipation": _pair(dissipation.integral),
        "data_entropy": _entropy(law),
        "dim": law.dim,
        "worst_point": _rounded(kl_ode.max().item()),
        "nfe": _rounded(likelihood.nfe.double().mean().item()),
    }


def bits(row: dict[str, Any], name: str, above: bool = False) -> Estimate:
    """An entry of a row of :func:`evaluate_network` in bits per dimension; `above`: with S_data added."""
    unit = row["dim"] * math.log(2.0)
    value, stderr = row[name]
    return Estimate(((row["data_entropy"] if above else 0.0) + value) / unit, stderr / unit, "bits per dimension")


@cache
def _entropy(law: Distribution) -> float:
    """S_data, nats, at t = 0: by quadrature for the Swiss roll, which takes seconds."""
    return law.entropy()


def _rounded(value: float) -> float:
    """Five digits: errors leave no more."""
    return float(f"{value:.5g}")


def _pair(estimate: Estimate) -> list[float]:
    return [_rounded(estimate.value), _rounded(estimate.stderr)]
