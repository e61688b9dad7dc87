"""Processes that the tests range over, by hypothesis and by hand, and how close float64 must come."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st
from torch import Tensor

from thermokern.processes import EDM, VE, VP, CosineVP, DiscreteVP, Flow, SubVP

vp = st.builds(lambda low, more: VP(low, low + more), st.floats(0.0, 5.0), st.floats(0.01, 30.0))
ve = st.builds(VE, st.floats(1.01, 100.0))
sub_vp = st.builds(lambda low, more: SubVP(low, low + more), st.floats(0.0, 5.0), st.floats(0.01, 30.0))
cosine = st.builds(CosineVP, st.floats(1e-3, 0.5), st.floats(1e-6, 0.1))
edm = st.builds(EDM, st.floats(1.0, 200.0))
discrete = st.lists(st.floats(1e-5, 0.5), min_size=2, max_size=30).map(
    lambda betas: DiscreteVP((1.0 - torch.tensor(betas, dtype=torch.float64)).cumprod(0))
)


def cosine_of(t: Tensor) -> Tensor:
    return torch.cos(0.5 * math.pi * t)


def sine_of(t: Tensor) -> Tensor:
    return torch.sin(0.5 * math.pi * t)


flow = st.one_of(
    st.builds(lambda t_end: Flow(t_end=t_end), st.floats(0.6, 0.9999)),
    st.builds(lambda t_end: Flow(cosine_of, sine_of, t_end=t_end), st.floats(0.6, 0.999)),
    st.builds(
        lambda rate, scale: Flow(lambda t: torch.exp(-rate * t), lambda t: scale * t * (1.0 + t), t_end=2.0),
        st.floats(0.1, 3.0),
        st.floats(0.1, 10.0),
    ),
    st.builds(lambda scale: Flow(torch.ones_like, lambda t: scale * t, t_end=3.0), st.floats(0.1, 10.0)),
)
processes = st.one_of(vp, ve, sub_vp, cosine, edm, discrete, flow)

# DDPM's own table, β from 1e-4 to 0.02 in 1000 steps, and a short one that is anything but smooth.
DDPM = DiscreteVP((1.0 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0))
ROUGH = DiscreteVP([0.99, 0.7, 0.69, 0.2])
PLATEAU = DiscreteVP([0.5, 0.5 - 1e-16])  # β too small for float64 to tell v(1.25) from v(1.75)
NEW = [SubVP(), SubVP(0.0, 4.0), CosineVP(), CosineVP(0.1, 0.01), EDM(), EDM(5.0), DDPM, ROUGH, Flow(), Flow(t_end=0.7)]
PROCESSES = [VP(), VP(0.0, 3.0), VP(2.0, 2.0), VP.from_sigma(10.0), VE(), VE(1.5), VE(90.0), *NEW]
PROCESSES.append(Flow(cosine_of, sine_of, t_end=0.98))


def close(actual: Tensor, expected: Tensor, relative: float, absolute: float = 0.0) -> None:
    """Rounding in float64; the same shape and dtype."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == torch.float64
    error, bound = (actual - expected).abs(), relative * expected.abs() + absolute
    assert bool((error <= bound).all()), f"off by {error.max().item():.3g}"
