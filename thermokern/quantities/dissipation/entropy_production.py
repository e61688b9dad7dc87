"""Classical entropy production of overdamped Langevin systems, trajectory by trajectory."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from thermokern.ops.checks import (
    MOST,
    check_flags,
    checked_choice,
    checked_dtype,
    checked_integer,
    checked_number,
    checked_seed,
)
from thermokern.quantities.dissipation.paths import chain_correction, run_paths
from thermokern.quantities.dissipation.result import EntropyPart, EntropyProduction, entropy_part
from thermokern.quantities.dissipation.systems import (
    ConstantDiffusion,
    DiffusionField,
    Field,
    LinearForce,
    as_diffusion,
)
from thermokern.quantities.engine.backends import UNSTREAMED
from thermokern.quantities.engine.problem import checked_data, drawn
from thermokern.quantities.results.estimate import FewPathsWarning
from thermokern.targets import Distribution, Gaussian

DISSIPATION_SCHEMES = ("stratonovich", "discrete")


def entropy_production(
    force: Field,
    diffusion: float | Tensor | np.ndarray | Field,
    x0: Tensor | np.ndarray | Distribution,
    *,
    n_paths: int | None = None,
    t_start: float = 0.0,
    t_end: float = 1.0,
    n_steps: int = 1000,
    log_density: Callable[[Tensor, float], Tensor] | str | None = "auto",
    stationary: Callable[[Tensor, float], Tensor] | str | None = "auto",
    scheme: str = "stratonovich",
    seed: int = 0,
    path_offset: int = 0,
    backend: str = "auto",
    dtype: torch.dtype | None = None,
    allow_nonfinite: bool = False,
    progress: bool = False,
) -> EntropyProduction:
    """Entropy production of ``dx = F(x, t) dt + √(2𝐃) dw`` (Itô) along each of many Euler–Maruyama paths.

    With ``∘ dx`` the Stratonovich product (average of both ends of a step) and p_st(·, t) the law that would be
    stationary if the protocol stopped at t,

        system = log p_0(x_0) − log p_T(x_T)         bath = ∫ 𝐃⁻¹F ∘ dx
        housekeeping = ∫ (𝐃⁻¹F − ∇log p_st) ∘ dx     excess = ∫ ∇log p_st ∘ dx
        total = system + bath                        nonadiabatic = system + excess

    and ``⟨e^{−X}⟩ = 1`` for X = total, nonadiabatic and housekeeping. Where 𝐃 depends on x, F in these formulas is
    ``F_i − ∂_i D_i``, which vanishes with the current.

    Parameters
    ----------
    force : LinearForce or callable ``(x, t) -> (n, d)``
        F, in data units per unit time. Forces may depend on time.
    diffusion : number, array or callable
        𝐃: a number times the identity, (d,) axis by axis, (d, d), or a function ``(x, t) -> (n,) or (n, d)``.
    x0 : Tensor, array or Distribution
        (n, d) first points; or the law at ``t_start``, with `n_paths`.
    n_paths : int, optional
        Points to draw from the law `x0`.
    t_start, t_end, n_steps
        The grid, uniform.
    log_density : callable ``(x, t) -> (n,)``, "auto" or None
        ``log p_t``, asked for at ``t_start`` and ``t_end`` in float64. ``auto``: known for a :class:`LinearForce`,
        constant 𝐃 and a law `x0` that is Gaussian; else None, and what needs it is None in the result. The theorem for
        the total holds with any normalised density in place of p_T, but only p_T makes it an entropy production.
    stationary : callable ``(x, t) -> (n,)``, "auto" or None
        ``log p_st``, up to a constant; its gradient is taken by autograd, or from its method ``score(x, t)`` where it
        has one. ``auto``: known for a stable :class:`LinearForce` and constant 𝐃, from AΣ + ΣAᵀ = 2𝐃.
    scheme : {"stratonovich", "discrete"}
        ``discrete`` adds ``Σ (h/4) Δ(Fᵀ𝐃⁻¹F)`` to the bath and the total: the log ratio of the discrete chain's own
        path densities, whose theorem holds for any number of steps. Constant 𝐃 only.
    seed, path_offset : int
        Path ``i`` depends on `seed` and ``path_offset + i`` alone.
    backend : {"auto", "fused", "reference"}
        ``fused``: a kernel for :class:`LinearForce` and constant 𝐃, d ≤ 16. ``reference``: PyTorch, any system.
    dtype : torch.dtype, optional
        Of the paths; float32 when left out.
    allow_nonfinite : bool
        Return NaN or infinite values that arise on a path instead of raising.
    progress : bool
        Show a progress bar.

    Returns
    -------
    EntropyProduction

    Raises
    ------
    ValueError, TypeError
        Naming the argument.
    FloatingPointError
        When values on a path stop being finite.

    Warns
    -----
    FewPathsWarning
        When the standard error of an average ``⟨e^{−X}⟩`` is unreliable: its weights have a Pareto shape above ½, or
        fewer than one path in a hundred carries it. Over short times the total has such weights by nature.

    Notes
    -----
    Strong order in the step, constant 𝐃: 1 for paths, and for their entropy where ``𝐃⁻¹F`` is a gradient; ½ where it
    circulates, as the work of a circulation needs the areas that a path sweeps within steps. Means: weak order 1.
    Cost: one evaluation of the force, and of ∇log p_st, for each path and step; memory grows with paths, not steps.

    References
    ----------
    Seifert, *Stochastic thermodynamics, fluctuation theorems and molecular machines*, 2012, Sec. 2.4 and 4; Ding, Quan
    and Tu, *Stochastic thermodynamics of score matching in diffusion models*, 2026, Sec. 2.
    """
    check_flags(allow_nonfinite=allow_nonfinite, progress=progress)
    seed, path_offset = checked_seed(seed, path_offset)
    start = _first_points(x0, n_paths, seed, path_offset)
    dim = start.shape[1]
    if not callable(force):
        raise TypeError(f"force: expected a callable (x, t) -> tensor, got {type(force).__name__}")
    if isinstance(force, LinearForce) and force.dim != dim:
        raise ValueError(f"force: expected dimension {dim} to match the points, got {force.dim}")
    t_start = checked_number("t_start", t_start)
    t_end = checked_number("t_end", t_end, above=t_start)
    n_steps = checked_integer("n_steps", n_steps, 1, MOST)
    checked_choice("scheme", scheme, DISSIPATION_SCHEMES)
    checked_choice("backend", backend, UNSTREAMED)
    dtype = checked_dtype(dtype)
    for name, given in {"log_density": log_density, "stationary": stationary}.items():
        if not (given is None or callable(given) or (isinstance(given, str) and given == "auto")):
            raise TypeError(f'{name}: expected a callable (x, t) -> (n,), "auto" or None, got {given!r}')
    d = as_diffusion(diffusion, dim)
    if scheme == "discrete" and not isinstance(d, ConstantDiffusion):
        raise ValueError('scheme: "discrete" takes a constant diffusion')

    times = torch.linspace(t_start, t_end, n_steps + 1, dtype=torch.float64, device="cpu")
    x_start = start.to(dtype)
    sums, ran, reason = run_paths(force, d, stationary, x_start, times, seed, path_offset, backend, progress)
    correction = chain_correction(force, d, x_start, sums.x_end, times) if scheme == "discrete" else 0.0
    density = _law_in_time(force, d, x0, t_start) if isinstance(log_density, str) else log_density
    system = None
    if callable(density):
        first, last = (_log_density(density, x, t) for x, t in ((x_start, t_start), (sums.x_end, t_end)))
        system = (first - last).to(dtype)
    bath = sums.bath + correction
    values = {
        "system": system,
        "bath": bath,
        "total": None if system is None else system + bath,
        "nonadiabatic": None if system is None or sums.excess is None else system + sums.excess + correction,
        "housekeeping": sums.housekeeping,
        "excess": None if sums.excess is None else sums.excess + correction,
    }
    _check_paths(values, allow_nonfinite)
    parts = {name: None if x is None else entropy_part(name, x) for name, x in values.items()}
    _warn_of_unreliable_averages(parts)
    assert parts["bath"] is not None
    return EntropyProduction(
        system=parts["system"],
        bath=parts["bath"],
        total=parts["total"],
        nonadiabatic=parts["nonadiabatic"],
        housekeeping=parts["housekeeping"],
        excess=parts["excess"],
        x_start=x_start,
        x_end=sums.x_end,
        duration=t_end - t_start,
        backend=ran,
        backend_reason=reason if backend == "auto" else "",
        settings={
            "force": repr(force) if isinstance(force, LinearForce) else _name(force),
            "diffusion": d.matrix.tolist() if isinstance(d, ConstantDiffusion) else _name(d.function),
            "t_start": t_start,
            "t_end": t_end,
            "n_steps": n_steps,
            "scheme": scheme,
            "seed": seed,
            "path_offset": path_offset,
            "dtype": str(dtype)[6:],
            "torch": str(torch.__version__),
        },
    )


def _law_in_time(
    force: Field, d: ConstantDiffusion | DiffusionField, x0: object, t_start: float
) -> Callable[[Tensor, float], Tensor] | None:
    """``log p_t`` of a linear system that starts from a Gaussian; None where it is not known."""
    if not (isinstance(force, LinearForce) and isinstance(d, ConstantDiffusion) and isinstance(x0, Gaussian)):
        return None

    def log_density(x: Tensor, t: float) -> Tensor:
        mean, covariance = force.moments(x0.means[0], x0.covariances[0], d.matrix, t - t_start)
        root = torch.linalg.cholesky(covariance)
        whitened: Tensor = torch.linalg.solve_triangular(root, (x - mean).T, upper=False)  # (d, n)
        log_norm: Tensor = (root.diagonal() * math.sqrt(2.0 * math.pi)).log().sum()
        return -0.5 * whitened.square().sum(0) - log_norm

    return log_density


def _log_density(density: Callable[[Tensor, float], Tensor], x: Tensor, t: float) -> Tensor:
    with torch.no_grad():
        out = density(x.to(torch.float64), t)
    if not isinstance(out, Tensor) or out.shape != (len(x),):
        got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ValueError(f"log_density: expected ({len(x)},), got {got}")
    return out


def _first_points(x0: Tensor | np.ndarray | Distribution, n_paths: int | None, seed: int, path_offset: int) -> Tensor:
    """(n, d) float64."""
    if isinstance(x0, Distribution):
        return drawn(x0, n_paths, seed, path_offset)[0]
    if n_paths is not None:
        raise ValueError("n_paths: x0 gives the paths' first points; leave n_paths out")
    points, shape = checked_data("x0", x0)
    if len(shape) != 1:
        raise ValueError(f"x0: expected points (n, d) or a distribution, got {(len(points), *shape)}")
    return points


def _check_paths(values: dict[str, Tensor | None], allow_nonfinite: bool) -> None:
    for name, tensor in values.items():
        bad = 0 if tensor is None else len(tensor) - int(torch.isfinite(tensor).sum())
        if bad and not allow_nonfinite:
            raise FloatingPointError(
                f"{name}: {bad} values stopped being finite: the step may be too large for the force; "
                "allow_nonfinite=True returns them as they are"
            )


def _warn_of_unreliable_averages(parts: dict[str, EntropyPart | None]) -> None:
    for name, part in parts.items():
        average = None if part is None else part.fluctuation_theorem
        if average is not None and average.n and (reasons := average.doubts()):
            warnings.warn(
                f"the standard error of ⟨exp(−X)⟩ of the {name} entropy is unreliable: " + "; ".join(reasons),
                FewPathsWarning,
                stacklevel=3,
            )


def _name(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)
