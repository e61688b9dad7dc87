"""Pairs of discrete chains, forward and reverse, that the sampler scheme compares; each a table of numbers.

What a number of steps costs, ``⟨Δ⟩`` of the exact score, depends on the chain more than on anything else. In nats on
the ring of Ding, Quan and Tu under VP, 50 steps uniform in time and in the log signal-to-noise ratio: Euler–Maruyama
1.75 and 0.96, DDPM's posterior 50.1 and 1.62, the same with its larger variance 0.31 and 0.41.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from thermokern.ops.checks import checked_array, checked_choice
from thermokern.processes.linear import LinearProcess

INTEGRATORS = ("exact", "euler-maruyama")


class Chain(NamedTuple):
    """Forward ``x_{k+1} ~ N(drift x_k, noise² I)``, in reverse ``x_k ~ N(position x_{k+1} + score s_θ, variance I)``.

    Each (n_steps,) float64; ``s_θ`` is taken at x_{k+1} and t_{k+1}.
    """

    drift: Tensor
    noise: Tensor
    position: Tensor
    score: Tensor
    variance: Tensor


def euler_maruyama(process: LinearProcess, times: Tensor) -> Chain:
    """Euler–Maruyama steps of the process and of its reverse: variance ``g²_{k+1} h_k``."""
    h = times.diff()  # (n_steps,)
    leave, reach = process.coefficients(times)
    push = reach.g2 * h
    return Chain(1.0 + leave.f * h, leave.g2.sqrt() * h.sqrt(), 1.0 - reach.f * h, push, push)


def clock(process: LinearProcess, times: Tensor) -> Chain:
    """The process's exact transitions, and Euler–Maruyama steps of the reverse on the exact clock.

    On the clock ``q = v/m²`` the scaled state ``y = x/m`` is Brownian motion, ``dy = dw(q)``, without error at any
    step, and its reverse steps by ``y_k = y_{k+1} + Δq m s_θ + √Δq z``.
    """
    drift, added = transitions(process, times)
    return Chain(drift, added.sqrt(), 1.0 / drift, added / drift, added / drift.square())


def ddpm(process: LinearProcess, times: Tensor) -> Chain:
    """The process's exact transitions, and the posterior ``q(x_k | x_{k+1}, x̂_0)`` at ``x̂_0 = (x_{k+1} + v s_θ)/m``.

    With ``F = m_{k+1}/m_k`` and ``G² = v_{k+1} − F² v_k`` its mean is ``(x_{k+1} + G² s_θ)/F`` and its variance
    ``G² v_k/v_{k+1}``, the β̃ of Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, Eq. 7.
    """
    drift, added = transitions(process, times)
    v = process.variance(times)
    return Chain(drift, added.sqrt(), 1.0 / drift, added / drift, added * v[:-1] / v[1:])


def ddpm_large(process: LinearProcess, times: Tensor) -> Chain:
    """As :func:`ddpm`, with the whole variance ``G²`` of the forward step: the β of Ho, Jain and Abbeel, Sec. 3.2.

    Under a variance-preserving process it is exact for data from N(0, I), and β̃ for a single point.
    """
    drift, added = transitions(process, times)
    return Chain(drift, added.sqrt(), 1.0 / drift, added / drift, added)


CHAINS: dict[str, Callable[[LinearProcess, Tensor], Chain]] = {
    "euler-maruyama": euler_maruyama,
    "ddpm": ddpm,
    "ddpm-large": ddpm_large,
}
DEFAULT_CHAIN = "euler-maruyama"
OPTIMAL_CHAIN = "ddpm-optimal"  # whose variances depend on the model and the data
CHAIN_NAMES = (*CHAINS, OPTIMAL_CHAIN)


def chain_of(name: str, process: LinearProcess, times: Tensor, variance: Tensor | Sequence[float] | None) -> Chain:
    """The chain of a name on a grid.

    ``ddpm-optimal`` is :func:`ddpm` with the `variance` of each step, (n_steps,) in order of time, that makes its bound
    on KL smallest: ``β̃ + (G⁴/(d F²)) E|s_θ + ε/√v|²``, ``β̃ = G² v_k/v_{k+1}``, the expectation at t_{k+1}. It depends
    on the model and the data; :func:`thermokern.optimal_schedule` estimates it. The other chains know their variances.

    References
    ----------
    Bao, Li, Zhu and Zhang, *Analytic-DPM*, 2022, Theorem 1.
    """
    checked_choice("chain", name, CHAIN_NAMES)
    if name != OPTIMAL_CHAIN:
        if variance is not None:
            raise ValueError(f"variance: expected none with the chain {name!r}, which knows its own")
        return CHAINS[name](process, times)
    steps = ddpm(process, times)
    if variance is None:
        raise ValueError(
            f"variance: the chain {name!r} needs that of each step, (n_steps,), as tk.optimal_schedule finds it"
        )
    known = checked_array("variance", variance)
    if known.shape != steps.variance.shape or not bool((known > 0.0).all()):
        raise ValueError(
            f"variance: expected {tuple(steps.variance.shape)} positive numbers, one for each step, "
            f"got {tuple(known.shape)}"
        )
    return steps._replace(variance=known)


def transitions(process: LinearProcess, times: Tensor) -> tuple[Tensor, Tensor]:
    """``F`` and ``G²`` of the exact transitions between neighbouring times, (n_steps,) each."""
    m, v = process.mean_scale(times), process.variance(times)
    drift = m[1:] / m[:-1]
    added = v[1:] - drift.square() * v[:-1]
    if not bool((added > 0.0).all()):
        raise ValueError("times: expected steps long enough that float64 resolves their noise")
    return drift, added


def weights_have_variance(
    process: LinearProcess, times: Tensor, steps: Chain, data_variance: float, model_variance: float
) -> bool:
    """Whether the variance of ``e^{−Δ}`` over forward paths of a pair of chains is finite, as far as tails decide.

    ``E[e^{−2Δ}] = ∫ [p_T Π reverse]²/(p_0 Π forward)`` is a Gaussian integral where the law of the data, and the law
    whose score the model has, are Gaussian far out. It is done node by node: with ``s_θ = −x/τ`` there, a step has the
    exponent ``−a x_k² + 2 b x_k x_{k+1} − c x_{k+1}²``, and is finite where every ``a > 0``.

    Parameters
    ----------
    process : LinearProcess
    times : Tensor
        (n_nodes,) increasing.
    steps : Chain
    data_variance, model_variance : float
        The largest variances of both laws at data time; 0 for bounded laws.
    """
    m2, v = process.mean_scale(times).square(), process.variance(times)
    pull = (steps.position - steps.score / (m2[1:] * model_variance + v[1:])).tolist()
    marginal = m2 * data_variance + v
    carried = -0.5 / marginal[0].item()
    columns = (steps.drift.tolist(), steps.noise.square().tolist(), pull, steps.variance.tolist())
    for drift, added, back, variance in zip(*columns, strict=True):
        a = carried + 1.0 / variance - 0.5 * drift * drift / added
        if a <= 0.0:
            return False
        b = back / variance - 0.5 * drift / added
        carried = back * back / variance - 0.5 / added - b * b / a
    return carried + 1.0 / marginal[-1].item() > 0.0
