"""An integral over noise levels, bin by bin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thermokern.quantities.information.estimates import total
from thermokern.quantities.information.integral import Integral
from thermokern.quantities.results.estimate import Estimate
from thermokern.quantities.results.storage import stored


@stored("information-curve")
@dataclass(frozen=True, eq=False)
class InformationCurve:
    """An integral over λ = ln(m²/v), bin by bin.

    Attributes
    ----------
    log_snr : Tensor
        (bins + 1,) edges of λ, increasing, from t_end to t_eps.
    rate, rate_stderr : Tensor
        (bins,) the mean over each bin, nats per unit of λ.
    cumulative, cumulative_stderr : Tensor
        (bins + 1,) the integral from λ = −∞ to each edge, what lies above t_end included, nats.
    """

    log_snr: Tensor
    rate: Tensor
    rate_stderr: Tensor
    cumulative: Tensor
    cumulative_stderr: Tensor

    @property
    def centre(self) -> Tensor:
        """(bins,) the middle of each bin."""
        return 0.5 * (self.log_snr[1:] + self.log_snr[:-1])


def curve_of(integral: Integral, values: Tensor, above: Estimate) -> InformationCurve:
    """The curve of values (n,) made from the columns of an integral."""
    edges = integral.edges
    which = (torch.bucketize(integral.log_snr, edges) - 1).clamp(0, len(edges) - 2)
    rates, sums = [], [above]
    for k, width in enumerate(edges.diff().tolist()):
        inside = integral.estimate(torch.where(which == k, values, 0.0))
        rates.append((inside.value / width, inside.stderr / width))
        sums.append(total(above, integral.estimate(torch.where(which <= k, values, 0.0))))
    rate = torch.tensor(rates, dtype=torch.float64, device="cpu")
    whole = torch.tensor([(item.value, item.stderr) for item in sums], dtype=torch.float64, device="cpu")
    return InformationCurve(edges, rate[:, 0].clone(), rate[:, 1].clone(), whole[:, 0].clone(), whole[:, 1].clone())


def level_parts(integral: Integral, column: int, name: str) -> dict[str, Any]:
    """What every result of an integral keeps of a column; `name` is the caller's, for warnings of few evaluations."""
    above, values = integral.above(column), integral.values[:, column].contiguous()
    return {
        "below": integral.below(column),
        "above": above,
        "curve": curve_of(integral, values, above),
        "effective_sample_size": integral.carried(name, column),
        "n_evaluations": len(values),
        "log_snr": integral.log_snr,
        "values": values,
        "points": integral.clusters,
    }


def curve_numbers(prefix: str, curve: InformationCurve) -> dict[str, object]:
    """A curve as numbers for JSON."""
    names = ("log_snr", "rate", "rate_stderr", "cumulative", "cumulative_stderr")
    return {f"{prefix}{name}": getattr(curve, name) for name in names}
