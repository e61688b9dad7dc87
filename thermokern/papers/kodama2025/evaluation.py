"""The likelihoods and bounds of one network against a law that is known, with errors far below their spread.

Every average is of a difference between the network and the exact score along the same paths, and the entropies of the
law are those of its closed form: what the paths have in common cancels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from torch import Tensor

from thermokern.models import ScoreModel
from thermokern.quantities import Estimate, log_likelihood
from thermokern.quantities.likelihood import rate_averages as ra
from thermokern.quantities.likelihood.rates import averages_of, rates_from
from thermokern.quantities.results.estimate import mean_estimate
from thermokern.quantities.results.storage import stored
from thermokern.targets import Distribution

STEPS = 128  # of the log-SNR grid that rates are integrated over


@stored("network-likelihoods")
@dataclass(frozen=True)
class Likelihoods:
    """Likelihoods and bounds of a network, nats above S_data.

    With ``E = ∫D E|s_θ|²dt``, E_* that of the true score, ``M = ∫D E|s_θ − s_*|²dt``, and S(p_T) − S_data = ∫Ṡ_* dt:

    Attributes
    ----------
    kl_ode : Estimate
        NLL of the probability-flow equation less S_data.
    kl_plugin : Estimate
        The plug-in NLL less S_data, ``½(M − E + E_*)``.
    lower_bound : Estimate
        Of Kodama and Hinczewski, Eq. 6, less S_data, ``½(E_* − E)``.
    elbo : Estimate
        ``M + KL(p_T‖π)``, above the SDE sampler's NLL less S_data.
    entropy_bound, entropy_bound_plugin : Estimate
        ``2 NLL_ODE + ∫Ṡ_θ − S(p_T)`` less S_data, ``2 kl_ode + E − E_*``; the same with the plug-in NLL, which is M.
    gap_ode, gap_plugin : Estimate
        NLL less the lower bound.
    squared_difference, prior_mismatch, dissipation : Estimate
        M, KL(p_T‖π) and ``∫Ṡ_i dt``.
    stein : Estimate
        ``∫D E[∇·s_θ + s_θ·s_*]dt``, 0 by Stein's identity.
    polarisation : Estimate
        M again, as ``E + S(p_T) − S_data − ∫f d dt + 2∫D E[∇·s_θ]dt``, less M: 0 by Stein's identity and the entropy
        balance.
    data_entropy : float
        S_data, nats.
    dim : int
    worst_point : float
        The largest ``log p_data − log p_ODE`` of one point: the mean over points may hang on it, where the model's flow
        carries a point far away from the prior.
    nfe : float
        Evaluations of the network for the likelihood of one point, on average.
    """

    kl_ode: Estimate
    kl_plugin: Estimate
    lower_bound: Estimate
    elbo: Estimate
    entropy_bound: Estimate
    entropy_bound_plugin: Estimate
    gap_ode: Estimate
    gap_plugin: Estimate
    squared_difference: Estimate
    prior_mismatch: Estimate
    stein: Estimate
    polarisation: Estimate
    dissipation: Estimate
    data_entropy: float
    dim: int
    worst_point: float
    nfe: float

    @property
    def data_entropy_bits(self) -> float:
        """S_data, bits per dimension."""
        return self.data_entropy / self.dim / math.log(2.0)

    def bits(self, estimate: Estimate, above: bool = False) -> Estimate:
        """One of the estimates in bits per dimension; `above`: with S_data added."""
        unit = self.dim * math.log(2.0)
        value = (self.data_entropy if above else 0.0) + estimate.value
        return Estimate(value / unit, estimate.stderr / unit, "bits per dimension")


def read_estimate(entry: Any) -> Estimate:
    """An estimate in nats from JSON, ``{"value", "stderr", "unit"}`` or, as files of before had it, a pair."""
    return Estimate(**entry) if isinstance(entry, dict) else Estimate(*entry)


def read_likelihoods(row: Mapping[str, Any]) -> Likelihoods:
    """The entries of a row of a JSON file that are likelihoods and bounds."""
    found = {field.name: row[field.name] for field in fields(Likelihoods)}
    estimates = {name: read_estimate(entry) for name, entry in found.items() if isinstance(entry, dict | list)}
    return Likelihoods(**{**found, **estimates})


def evaluate_network(
    model: ScoreModel, law: Distribution, *, n_paths: int, n_likelihood: int, seed: int = 0
) -> Likelihoods:
    """Likelihoods and bounds of a network.

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
    return Likelihoods(
        kl_ode=_mean(kl_ode),
        kl_plugin=_mean(0.5 * (mismatch - excess)),
        lower_bound=_mean(-0.5 * excess),
        elbo=_mean(mismatch + prior - noise),
        entropy_bound=_mean(2.0 * kl_ode + first),
        entropy_bound_plugin=_mean(mismatch),
        gap_ode=_mean(kl_ode + 0.5 * first),
        gap_plugin=_mean(0.5 * mismatch),
        squared_difference=_mean(mismatch),
        prior_mismatch=_mean(prior - noise),
        stein=_mean(divergence + cross),
        polarisation=_mean(polarisation),
        dissipation=_rounded_estimate(dissipation.integral),
        data_entropy=_entropy(law),
        dim=law.dim,
        worst_point=_rounded(kl_ode.max().item()),
        nfe=_rounded(likelihood.nfe.double().mean().item()),
    )


@cache
def _entropy(law: Distribution) -> float:
    """S_data, nats, at t = 0: by quadrature for the Swiss roll, which takes seconds."""
    return law.entropy()


def _rounded(value: float) -> float:
    """Five digits: errors leave no more."""
    return float(f"{value:.5g}")


def _rounded_estimate(estimate: Estimate) -> Estimate:
    return Estimate(_rounded(estimate.value), _rounded(estimate.stderr))


def _mean(values: Tensor) -> Estimate:
    return _rounded_estimate(mean_estimate(values))
