"""Likelihoods of a model and the bounds between them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from thermokern.models import ScoreLike, one_process
from thermokern.ops.checks import MOST, check_flags, checked_integer, checked_number
from thermokern.ops.probability_flow import checked_tolerances
from thermokern.processes import LinearProcess
from thermokern.quantities.engine.blocks import checked_sharing
from thermokern.quantities.engine.problem import check_prior, checked_data, log_prior
from thermokern.quantities.engine.ranks import Group
from thermokern.quantities.likelihood import rate_averages as ra
from thermokern.quantities.likelihood.limits_result import Limits
from thermokern.quantities.likelihood.log_likelihood import log_likelihood
from thermokern.quantities.likelihood.rates import DEFAULT_STEPS, averages_of, rates_from
from thermokern.quantities.likelihood.verdicts import ODE, PLUG_IN, SDE, Claim, Relation, Verdict, judge
from thermokern.quantities.results.estimate import Estimate, mean_estimate
from thermokern.targets import Distribution, Empirical

DEFAULT_LIKELIHOOD = 10_000  # points whose exact likelihood is taken
_NOISE_POINTS = 4096  # at which the empirical law of t_end is taken where the data's law is not known
_STEPS_OF_TOLERANCE = 20.0  # steps whose errors may add up in a likelihood


def limits(
    model: ScoreLike,
    data: Distribution | Tensor | np.ndarray,
    process: LinearProcess | None = None,
    *,
    data_entropy: float | Estimate | None = None,
    n_paths: int | None = None,
    n_likelihood: int | None = None,
    n_steps: int = DEFAULT_STEPS,
    t_eps: float | None = None,
    prior: Distribution | None = None,
    divergence: str = "auto",
    probes: int = 1,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    seed: int = 0,
    path_offset: int = 0,
    backend: str = "auto",
    dtype: torch.dtype | None = None,
    block: int | None = None,
    group: Group = None,
    progress: bool = False,
) -> Limits:
    """Negative log-likelihoods of a model, bounds on them, and which bound speaks of which.

    Three likelihoods bear the name, and differ unless the score is exact: that of the probability-flow equation (ODE),
    that of the reverse stochastic equation (SDE sampler), and the plug-in one, which puts averages over the data's own
    marginals p_t in the place of averages along the model's flow,

        NLL_plugin = S(p_T) − ∫f d dt + ∫D E[∇·s_θ]dt = (S_data + S(p_T))/2 − ½∫Ṡ_θ dt + ½∫D E|s_θ − s_*|²dt.

    Parameters
    ----------
    model : ScoreModel, Distribution or callable ``(x, t) -> score``
    data : Distribution, Tensor or array
        The law of the data, whose score and entropy are then known, or points (n, …).
    process : LinearProcess, optional
    data_entropy : float or Estimate, optional
        Entropy of the law behind points, nats; what needs it is left out otherwise.
    n_paths : int, optional
        As in :func:`entropy_rates`.
    n_likelihood : int, optional
        How many of the paths' first points the probability-flow equation is solved for: at most 10,000 where left out.
    n_steps, t_eps, divergence, probes, backend, dtype
        As in :func:`entropy_rates`. All quantities are those of the law at t_eps, drawn back to the data's scale.
    prior : Distribution, optional
        As in :func:`log_likelihood`.
    rtol, atol : float
        Of the probability-flow equation.
    seed, path_offset : int
        Path ``i`` depends on `seed` and ``path_offset + i`` alone.
    block, group
        As in :func:`entropy_rates` and :func:`log_likelihood`.

    Returns
    -------
    Limits

    References
    ----------
    Kodama and Hinczewski, arXiv 2510.06174, Eq. 6–8 and App. B; Huang, Lim and Courville, *A variational perspective on
    diffusion-based generative models and score matching*, 2021; Ding, Quan and Tu, *Stochastic thermodynamics of score
    matching in diffusion models*, 2026, Eq. 33.
    """
    check_flags(progress=progress)
    process = one_process(process, model=model)
    n_likelihood = DEFAULT_LIKELIHOOD if n_likelihood is None else n_likelihood
    n_likelihood = checked_integer("n_likelihood", n_likelihood, 1, MOST)
    if data_entropy is not None and not isinstance(data_entropy, Estimate):
        data_entropy = Estimate(checked_number("data_entropy", data_entropy), 0.0)
    rtol, atol = checked_tolerances(rtol, atol)  # before the pass over paths, which takes longest
    a, settings = averages_of(
        model,
        data,
        process,
        n_paths=n_paths,
        n_steps=n_steps,
        t_eps=t_eps,
        spacing="log-snr",
        divergence=divergence,
        probes=probes,
        seed=seed,
        path_offset=path_offset,
        backend=backend,
        dtype=dtype,
        sharing=checked_sharing(block, group),
        progress=progress,
    )
    check_prior(prior, a.dim)
    rates = rates_from(a, process, {**settings, "direction": "forward"})
    law = data if isinstance(data, Distribution) else None
    start = a.times[0].item()
    shift = a.dim * math.log(process.mean_scale(start))  # from the scale of t_eps to that of the data
    x_start, x_end = a.x_start.double(), a.x_end.double()

    surprise = None if law is None else -law.log_prob(x_start, start, process) - shift  # of the data, (n,)
    noise = _noise_surprise(law, x_start / process.mean_scale(start), x_end, process)
    cross_prior = -log_prior(process, prior, a.dim, x_end)  # (n,)
    drift = a.dim * (a.weight * a.force).sum()
    energy, spread = a.integrals[:, ra.ENERGY], a.integrals[:, ra.DIVERGENCE]
    mismatch = a.integrals[:, ra.MISMATCH] if law is not None else None

    n_ode = min(len(x_start), n_likelihood)
    shape = torch.Size([a.dim]) if isinstance(data, Distribution) else checked_data("data", data)[1]
    ode = log_likelihood(
        model,
        (x_start[:n_ode] / process.mean_scale(start)).reshape(-1, *shape),
        process,
        divergence=divergence,
        probes=probes,
        rtol=rtol,
        atol=atol,
        t_eps=start,
        prior=prior,
        seed=seed,
        path_offset=path_offset,
        backend=backend,
        block=block,
        group=group,
        progress=progress,
    )
    plugin = noise - drift + spread - shift
    elbo = cross_prior - drift + energy + 2.0 * spread - shift
    quadrature = {name: rate.quadrature_error for name, rate in rates.named().items()}
    slack = {
        "rates": sum(quadrature.get(name, 0.0) for name in ("system", "divergence", "mismatch")),
        "ode": _STEPS_OF_TOLERANCE * (atol + rtol * abs(ode.nll.value)),
    }
    entropy = _entropy(surprise, data_entropy)
    lower = bound = None
    if surprise is not None:
        lower = 0.5 * (surprise + noise - shift) - 0.5 * (drift + energy)
    elif entropy is not None:
        lower = 0.5 * (entropy.value + noise - shift) - 0.5 * (drift + energy)
    bound_terms = drift + energy - noise + shift  # what 2 NLL is added to
    bound = _combined(2.0, ode.nll, mean_estimate(bound_terms))
    terms = _Terms(
        ode=-ode.values,
        surprise=surprise,
        plugin=plugin,
        lower=lower,
        elbo=elbo,
        mismatch=mismatch,
        bound_terms=bound_terms,
        prior_gap=cross_prior - noise,
        entropy=entropy,
    )
    lower_estimate = None if lower is None else mean_estimate(lower)
    if lower_estimate is not None and surprise is None and entropy is not None:
        lower_estimate = Estimate(lower_estimate.value, math.hypot(lower_estimate.stderr, 0.5 * entropy.stderr))
    return Limits(
        nll_ode=ode.nll,
        nll_plugin=mean_estimate(plugin),
        nll_lower_bound=lower_estimate,
        elbo=mean_estimate(elbo),
        data_entropy=entropy,
        noise_entropy=mean_estimate(noise),
        data_entropy_bound=bound,
        data_entropy_bound_plugin=mean_estimate(2.0 * plugin + bound_terms),
        kl_upper=None if mismatch is None else mean_estimate(mismatch + cross_prior - noise),
        kl_ode=None if surprise is None else mean_estimate(-ode.values - surprise[:n_ode]),
        squared_difference=None if mismatch is None else mean_estimate(mismatch),
        prior_mismatch=mean_estimate(cross_prior - noise),
        below_t_eps=rates.system.below,
        verdicts=tuple(_verdicts(terms, slack)),
        rates=rates,
        likelihood=ode,
        dim=a.dim,
        settings={**settings, "n_likelihood": n_ode, "rtol": rtol, "atol": atol, "prior": ode.settings["prior"]},
    )


def _noise_surprise(law: Distribution | None, x0: Tensor, x_end: Tensor, process: LinearProcess) -> Tensor:
    """``−log p_T`` at the paths' ends, (n,): its mean is the entropy of p_T, which is not the prior's.

    Of points the law at t_end is the empirical one of every second path, taken at some of the others. The paths where
    it was not taken have the mean, and deviations from it are enlarged so that the standard error is that of the
    fewer.
    """
    if law is not None:
        return -law.log_prob(x_end, process.t_end, process)
    others = Empirical(x0[1::2] if len(x0) > 1 else x0)
    out = torch.full((len(x_end),), torch.nan, dtype=torch.float64, device="cpu")
    which = torch.arange(len(x_end), device="cpu")[::2][:_NOISE_POINTS]
    out[which] = -others.log_prob(x_end[which], process.t_end, process)
    mean = out.nanmean()
    return torch.where(out.isnan(), mean, mean + (out - mean) * (len(out) / max(len(which), 1)))


def _entropy(surprise: Tensor | None, given: Estimate | None) -> Estimate | None:
    if given is not None:
        return given
    return None if surprise is None else mean_estimate(surprise)


def _combined(factor: float, first: Estimate, second: Estimate) -> Estimate:
    """``factor · first + second``, the errors as if independent."""
    return Estimate(factor * first.value + second.value, math.hypot(factor * first.stderr, second.stderr))


class _Terms(NamedTuple):
    """What the sides of the verdicts are made of, (n,) over paths; `ode` of the first of them."""

    ode: Tensor
    surprise: Tensor | None  # −log p of the data, where their law is known
    plugin: Tensor
    lower: Tensor | None  # where an entropy of the data is known
    elbo: Tensor
    mismatch: Tensor | None
    bound_terms: Tensor
    prior_gap: Tensor
    entropy: Estimate | None


def _verdicts(r: _Terms, slack: dict[str, float]) -> list[Verdict]:
    out: list[Verdict] = []
    n, rates, ode = len(r.ode), slack["rates"], slack["ode"]

    def add(claim: Claim, left: Tensor | Estimate, right: Tensor | Estimate, room: float) -> None:
        """Sides are (n,) over paths, or an Estimate; a pair of paths over the fewer of the two."""
        first, second = (side if isinstance(side, Estimate) else mean_estimate(side) for side in (left, right))
        if isinstance(left, Tensor) and isinstance(right, Tensor):
            count = min(len(left), len(right))
            difference = mean_estimate(left[:count] - right[:count])
        else:
            difference = _combined(-1.0, second, first)
        out.append(judge(claim, first, second, difference, room))

    entropy = r.surprise if r.surprise is not None else r.entropy
    if entropy is None or r.lower is None:
        return out
    own = entropy[:n] if isinstance(entropy, Tensor) else entropy
    reason = "a KL divergence is not negative"
    add(Claim("NLL_ODE", Relation.AT_LEAST, "S_data", ODE, True, reason), r.ode, own, ode)
    reason = "the plug-in NLL is not that of a law, and a score that is too large takes it below S_data"
    add(Claim("NLL_plugin", Relation.AT_LEAST, "S_data", PLUG_IN, False, reason), r.plugin, entropy, rates)
    reason = "they differ by ½∫D E|s_θ − s_*|²dt"
    claim = Claim("NLL_plugin", Relation.AT_LEAST, "lower bound (Eq. 6)", PLUG_IN, True, reason)
    add(claim, r.plugin, r.lower, rates)
    reason = "the bound is derived for averages over p_t; along the model's own flow it can fail"
    claim = Claim("NLL_ODE", Relation.AT_LEAST, "lower bound (Eq. 6)", ODE, False, reason)
    add(claim, r.ode, r.lower[:n], rates + ode)
    reason = "follows from the bound on NLL_ODE, which can fail"
    claim = Claim("S_data", Relation.AT_MOST, "2 NLL_ODE + ∫Ṡ_θ − S_noise", ODE, False, reason)
    add(claim, own, 2.0 * r.ode + r.bound_terms[:n], 2.0 * (rates + ode))
    reason = "the ELBO bounds the SDE sampler's NLL, which is at least S_data"
    add(Claim("S_data", Relation.AT_MOST, "ELBO", SDE, True, reason), entropy, r.elbo, rates)
    if r.surprise is None or r.mismatch is None:
        return out
    reason = "Girsanov's bound is on the SDE sampler's KL, not on the probability flow's"
    claim = Claim("KL_ODE", Relation.AT_MOST, "∫D E|s_θ − s_*|²dt + KL(p_T‖π)", ODE, False, reason)
    add(claim, r.ode - r.surprise[:n], (r.mismatch + r.prior_gap)[:n], rates + ode)
    claim = Claim("NLL_plugin", Relation.EQUAL, "right-hand side of Eq. 8", PLUG_IN, True, "Stein's identity")
    add(claim, r.plugin, r.lower + 0.5 * r.mismatch, rates)
    reason = "Stein's identity and the entropy balance; ⟨Δs_ta⟩ = ∫D E|s_θ − s_*|²dt"
    claim = Claim("ELBO with prior p_T", Relation.EQUAL, "S_data + ⟨Δs_ta⟩", SDE, True, reason)
    add(claim, r.elbo - r.prior_gap, r.surprise + r.mismatch, rates)
    return out
