"""How gradient noise grows with curvature: over the leading eigenvectors of each layer, and over layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from thermokern.ops.checks import MOST, check_kind, checked_integer, checked_seed, checked_several
from thermokern.quantities.learning.result import Curvature, GradientNoise
from thermokern.quantities.learning.subsets import KINDS
from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.result import Result
from thermokern.quantities.results.storage import stored

ALL = "all layers"
TOP = "first vectors"
_RESAMPLES = 2000


@stored("layer-relation")
@dataclass(frozen=True, eq=False)
class LayerRelation:
    """One layer's eigenvectors, with the curvature and the gradient noise along each.

    Attributes
    ----------
    name, kind, place : str
    curvature : Tensor
        (k,) eigenvalues, on the samples that the vectors come from.
    held_out : Tensor or None
        (k,) ``v·H v`` on the other half of the samples.
    noise : Tensor
        (k,) ``v·C v``.
    prefactor : float
        ``tr C/tr H``; NaN where the trace is not known or zero.
    null_prefactor : float
        ``2 L/d``: what it would be if the residuals were white given x_t and t.
    negative_share : float
        Of the eigenvalues of the half that vectors come from.
    """

    name: str
    kind: str
    place: str
    curvature: Tensor
    held_out: Tensor | None
    noise: Tensor
    prefactor: float
    null_prefactor: float
    negative_share: float


@stored("noise-curvature")
@dataclass(frozen=True, eq=False)
class NoiseCurvature(Result):
    """Slopes of ``log v·C v`` on ``log v·H v``, 1 where the noise is proportional to the curvature.

    Attributes
    ----------
    layers : tuple of LayerRelation
    in_sample, held_out : dict of Estimate
        By kind of layer, ``all layers`` and ``first vectors`` (the first of each layer). Curvatures from the samples
        that the vectors come from, and from others; the second is empty where samples were not split. Errors: bootstrap
        over layers; NaN for a kind of one layer, since the points of a layer are not independent.
    within : dict of Estimate
        By layer, held out where that is known; least squares, whose errors take its points for independent.
    dropped : int
        Held-out quotients at or below zero, which have no logarithm.
    settings : dict
    """

    title: ClassVar[str] = "Gradient noise and curvature"

    layers: tuple[LayerRelation, ...]
    in_sample: dict[str, Estimate]
    held_out: dict[str, Estimate]
    within: dict[str, Estimate]
    dropped: int
    settings: dict[str, Any]

    def summary(self) -> str:
        """The slopes, prefactors beside those of white residuals, and what they say in words."""
        return "\n".join([*self.lines(), *self.closing()])

    def lines(self) -> list[str]:
        """The slopes and prefactors, for the summary of a result that has this one."""
        points = sum(len(layer.noise) for layer in self.layers)
        lines = [
            f"slope of log v·Cv on log v·Hv, {len(self.layers)} layers, top {self.settings['top']} vectors of each",
            f"  {'':<22}  {'in sample':>14}  {'held out':>14}",
        ]
        for name, found in self.in_sample.items():
            held = self.held_out.get(name, "")
            lines.append(f"  {name:<22}  {found!s:>14}  {held!s:>14}")
        if self.held_out:
            lines.append(f"  {self.dropped} of {points} held-out quotients are at or below zero, and left out")
        lines.append(f"  {'layer':<44}  {'tr C/tr H':>10}  {'2L/d':>10}  {'below zero':>10}")
        for layer in self.layers:
            lines.append(
                f"  {layer.name:<44}  {layer.prefactor:>10.4g}  {layer.null_prefactor:>10.4g}  "
                f"{layer.negative_share:>10.1%}"
            )
        return lines

    def law(self) -> str:
        """Whose loss it is."""
        return "the loss over data, times and noise, at the network's present parameters"

    def conclusion(self) -> list[str]:
        """How the noise grows with the curvature, and how far its size is explained."""
        slope = (self.held_out or self.in_sample).get(ALL)
        said = []
        if slope is not None:
            where = "held-out samples" if self.held_out else "the vectors' own samples, which flatten it"
            told = f"{slope.z(1.0):+.1f} standard errors from 1, which would be proportional"
            if math.isnan(slope.stderr):
                told = "without an error, since the points of one layer are not independent"
            said.append(f"Gradient noise grows as the curvature to the power {slope} on {where}: {told}.")
        ratios = sorted(layer.prefactor / layer.null_prefactor for layer in self.layers)
        known = [ratio for ratio in ratios if math.isfinite(ratio)]
        if known:
            span = f"{known[0]:.2g}" + f" to {known[-1]:.2g}" * (len(known) > 1)
            said.append(
                f"The ratio of their traces is {span} times that of white residuals, which need no fluctuation theorem."
            )
        return said

    def numbers(self) -> dict[str, object]:
        """Slopes, and for each layer its prefactor."""
        return {
            "slope": (self.held_out or self.in_sample).get(ALL),
            "in_sample": self.in_sample,
            "held_out": self.held_out,
            "within": self.within,
            "dropped": self.dropped,
            "layers": self.layers,
            "settings": self.settings,
        }

    def columns(self) -> dict[str, Tensor | Sequence[object]]:
        """A row for each vector of each layer."""
        nothing = [torch.full_like(layer.noise, math.nan) for layer in self.layers]
        held = [
            empty if layer.held_out is None else layer.held_out
            for layer, empty in zip(self.layers, nothing, strict=True)
        ]
        return {
            "layer": [layer.name for layer in self.layers for _ in layer.noise],
            "kind": [layer.kind for layer in self.layers for _ in layer.noise],
            "curvature": torch.cat([layer.curvature for layer in self.layers]),
            "held_out": torch.cat(held),
            "noise": torch.cat([layer.noise for layer in self.layers]),
        }


def noise_curvature(
    curvatures: Curvature | Sequence[Curvature],
    noises: GradientNoise | Sequence[GradientNoise],
    *,
    top: int = 20,
    seed: int = 0,
) -> NoiseCurvature:
    """Compare the noise of gradients with the curvature of the loss, along the leading eigenvectors of each layer.

    Parameters
    ----------
    curvatures : Curvature or sequence
        From :func:`loss_curvature`, one for each layer; with ``split`` the vectors come from one half of the samples
        and the curvatures from the other.
    noises : GradientNoise or sequence
        From :func:`gradient_noise`, of the same subsets in the same order.
    top : int
        Vectors of each layer, those of the largest eigenvalues.
    seed : int
        Of the bootstrap.

    Returns
    -------
    NoiseCurvature

    Raises
    ------
    ValueError
        For subsets that differ.

    Notes
    -----
    For a loss quadratic in the output and residuals that are white given x_t and t, ``C = (2L/d) H`` with the
    Gauss–Newton part for H: a slope near 1 needs no fluctuation theorem. That prefactor stands beside the one found.

    References
    ----------
    Ding, Quan and Tu, *Stochastic thermodynamics of score matching in diffusion models*, 2026, Sec. 4.2 and Fig. 4.
    """
    many = [curvatures] if isinstance(curvatures, Curvature) else list(checked_several("curvatures", curvatures))
    others = [noises] if isinstance(noises, GradientNoise) else list(checked_several("noises", noises))
    for curvature in many:
        check_kind("curvatures", curvature, Curvature)
    for noise in others:
        check_kind("noises", noise, GradientNoise)
    top = checked_integer("top", top, 1, MOST)
    (seed, _) = checked_seed(seed, 0)
    if not many or len(many) != len(others):
        raise ValueError(f"noises: expected one for each curvature, {len(many)}, got {len(others)}")
    layers = tuple(_layer(*pair, top) for pair in zip(many, others, strict=True))
    held = [layer for layer in layers if layer.held_out is not None]
    return NoiseCurvature(
        layers=layers,
        in_sample=_slopes(layers, False, seed),
        held_out=_slopes(layers, True, seed) if len(held) == len(layers) else {},
        within={layer.name: _least_squares(*_points([layer], layer.held_out is not None)) for layer in layers},
        dropped=sum(int((layer.held_out <= 0.0).sum()) for layer in held if layer.held_out is not None),
        settings={
            "top": top,
            "seed": seed,
            "part": many[0].part,
            "per": others[0].per,
            "n_curvature": many[0].settings["n_samples"],
            "n_noise": others[0].settings["n_samples"],
        },
    )


def _layer(curvature: Curvature, noise: GradientNoise, top: int) -> LayerRelation:
    one, two = curvature.subset, noise.subset
    same = one.indices.keys() == two.indices.keys() and all(
        torch.equal(index, two.indices[name]) for name, index in one.indices.items()
    )
    if one.name != two.name or not same:
        raise ValueError(f"noises: expected the subset of {one.name}, as the curvature has it, got {two.name}")
    vectors = curvature.vectors[:, :top]
    trace = 0.0 if curvature.trace is None else curvature.trace.value
    return LayerRelation(
        name=one.name,
        kind=one.kind,
        place=one.place,
        curvature=curvature.eigenvalues[:top].clone(),
        held_out=None if curvature.held_out is None else curvature.held_out[:top].clone(),
        noise=(vectors * (noise.covariance @ vectors)).sum(0),
        prefactor=noise.trace.value / trace if trace else math.nan,
        null_prefactor=2.0 * noise.loss.value / noise.settings["dim"],
        negative_share=curvature.negative_share,
    )


def _slopes(layers: Sequence[LayerRelation], held_out: bool, seed: int) -> dict[str, Estimate]:
    groups = {kind: [layer for layer in layers if layer.kind == kind] for kind in KINDS}
    out = {kind: _bootstrapped(some, held_out, None, seed) for kind, some in groups.items() if some}
    out[ALL] = _bootstrapped(layers, held_out, None, seed)
    if len(layers) > 2:
        out[TOP] = _bootstrapped(layers, held_out, 1, seed)
    return out


def _bootstrapped(layers: Sequence[LayerRelation], held_out: bool, first: int | None, seed: int) -> Estimate:
    """Slope over the points of all layers, its error from layers drawn again."""
    points = [_points([layer], held_out, first) for layer in layers]
    value = _slope(*(torch.cat(part) for part in zip(*points, strict=True)))
    if len(layers) < 2:
        return Estimate(value, math.nan, "")
    generator = torch.Generator().manual_seed(seed)
    again = []
    for chosen in torch.randint(len(layers), (_RESAMPLES, len(layers)), generator=generator, device="cpu").tolist():
        again.append(_slope(*(torch.cat([points[i][j] for i in chosen]) for j in (0, 1))))
    found = torch.tensor(again, dtype=torch.float64, device="cpu")
    found = found[found.isfinite()]
    return Estimate(value, found.std().item() if len(found) > 1 else math.nan, "")


def _points(layers: Sequence[LayerRelation], held_out: bool, first: int | None = None) -> tuple[Tensor, Tensor]:
    """Logarithms of curvature and of noise, where there are any."""
    x, y = [], []
    for layer in layers:
        curvature = layer.held_out if held_out and layer.held_out is not None else layer.curvature
        curvature, noise = curvature[:first], layer.noise[:first]
        keep = (curvature > 0.0) & (noise > 0.0)
        x.append(curvature[keep].log())
        y.append(noise[keep].log())
    return torch.cat(x), torch.cat(y)


def _slope(x: Tensor, y: Tensor) -> float:
    centred = x - x.mean()
    square = centred.square().sum().item()
    return (centred @ (y - y.mean())).item() / square if len(x) > 1 and square > 0.0 else math.nan


def _least_squares(x: Tensor, y: Tensor) -> Estimate:
    slope = _slope(x, y)
    if len(x) < 3:
        return Estimate(slope, math.nan, "")
    residual = (y - y.mean()) - slope * (x - x.mean())
    spread = (x - x.mean()).square().sum()
    return Estimate(slope, (residual.square().sum() / (len(x) - 2) / spread).sqrt().item(), "")
