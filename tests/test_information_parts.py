"""Parts of an integral over noise levels: who is used how often, where a curve begins, what carries an error."""

from __future__ import annotations

import torch
from information_cases import F64

import thermokern as tk
from thermokern.quantities.information.curve import curve_of
from thermokern.quantities.information.estimates import effective_sample_size
from thermokern.quantities.information.integral import Integral
from thermokern.quantities.information.sources import PointSource


def test_points_are_used_alike() -> None:
    """Each once in every run of as many evaluations, in orders of their own."""
    points = torch.arange(50.0)[:, None]
    draws = PointSource(points, None, 3).draw(150, 7)
    assert draws.number is not None
    runs = draws.number.reshape(3, 50)
    assert (runs.sort(1).values == torch.arange(50)).all()
    assert (runs[0] != runs[1]).any()
    assert (draws.x[:, 0] == draws.number).all()


def test_a_curve_begins_with_what_lies_above_it() -> None:
    log_snr, values = torch.linspace(0.01, 3.99, 400, dtype=F64), torch.full((400, 1), 8.0, dtype=F64)
    edges = torch.tensor([0.0, 1.0, 2.0, 4.0], dtype=F64)
    integral = Integral(log_snr, values, None, None, edges, False, None, None)
    curve = curve_of(integral, values[:, 0], tk.Estimate(0.5, 0.25))
    assert (curve.cumulative - torch.tensor([0.5, 2.5, 4.5, 8.5], dtype=F64)).abs().max().item() < 1e-12
    assert (curve.rate - 2.0).abs().max().item() < 1e-12
    assert curve.cumulative_stderr[0].item() == 0.25


def test_effective_pairs_are_all_where_all_are_equal() -> None:
    values = torch.tensor([0.0, 1.0], dtype=F64).repeat(50)
    assert abs(effective_sample_size(values) - 50.0) < 1e-9
    few = torch.zeros(100, dtype=F64)
    few[:6:2] = 1.0
    assert abs(effective_sample_size(few) - 3.0) < 1e-9
