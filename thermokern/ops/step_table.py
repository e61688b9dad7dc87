"""The table of numbers that a trajectory kernel reads: one row of coefficients per node of the time grid."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

# The columns of a step table, one row per node; csrc/core/node.hpp, Node, reads them in this order.
COLUMNS = (
    "drift",
    "noise",
    "energy",
    "work_carried",
    "work_drawn",
    "mismatch",
    "chain_position",
    "chain_noise",
    "chain_score",
    "push",
    "seen_position",
    "seen_score",
    "seen_noise",
    "level",
    "spread",
    "coarse_here",
    "coarse_kept",
    "energy_2",
    "energy_4",
)
STRIDES = (2, 4)  # of the coarse sums
DIRECTIONS = ("forward", "reverse")
# Factor c of the divergence beside |s|² in each scheme; the sampler scheme uses no divergence either.
DIVERGENCE_WEIGHT = {"ito": 2.0, "stratonovich": 1.0, "backward-ito": 0.0, "sampler": 0.0}
SCHEMES = tuple(DIVERGENCE_WEIGHT)


@dataclass(frozen=True)
class StepTable:
    """Coefficients of one scheme's increments along paths of one direction, node by node.

    Nodes stand in the order in which paths visit them: ``t_0 … t_n`` forward, ``t_n … t_0`` in reverse. Forward paths
    step by ``F x + G z``; reverse paths by ``F x + P s_θ(x) + G z̃``, and the noise of the forward process is read off
    them, ``z = α x + β s_θ(x) + γ z̃``.

    The same sums over every second and every fourth node need no further score. With ``dw = spread z`` added up since
    the coarse node before, a coarse node adds ``energy_2 e + (U' + coarse_here δ)·Σ dw``, where ``U'`` is
    ``coarse_kept δ`` of that node before.

    Attributes
    ----------
    times : Tensor
        (n_nodes,) float64.
    columns : Tensor
        (n_nodes, 19) float64, named by :data:`COLUMNS`. ``level`` is 1 at the nodes of the grid of double steps, 2 at
        those of the grid of fourfold steps (which are among them), else 0.
    scheme, direction : str
    mean_scale, variance : Tensor
        (n_nodes,) float64, ``m`` and ``v`` of ``x_t | x_0 ~ N(m x_0, v I)``.
    chain_log_scale : float
        Sampler scheme: ``½ Σ log(C_k/G_k²)`` per dimension, with ``C_k`` the reverse chain's variances.
    coarse : bool
        Whether the sums over every second and every fourth node are wanted.
    """

    times: Tensor
    columns: Tensor
    scheme: str
    mean_scale: Tensor
    variance: Tensor
    chain_log_scale: float = 0.0
    direction: str = "forward"
    coarse: bool = False

    @property
    def divergence_weight(self) -> float:
        return DIVERGENCE_WEIGHT[self.scheme]

    def column(self, name: str) -> Tensor:
        """One column, (n_nodes,)."""
        return self.columns[:, COLUMNS.index(name)]


@dataclass(frozen=True, kw_only=True)
class RateTable(StepTable):
    """Forward paths at whose nodes the rates of a process are taken.

    Attributes
    ----------
    rates : Tensor
        (n_nodes, 5) float64: ``f``, ``D``, the weight ``w`` of the node in an integral over time, ``w D`` and ``w/D``.
    """

    rates: Tensor
