"""Tensors in, tensors out: each op's PyTorch reference, which is its specification, and its fast path."""

from thermokern.ops.coarse_sums import CoarseSums, coarse_sums, no_coarse_sums
from thermokern.ops.flow_table import FlowTable
from thermokern.ops.gaussian_gap import MAX_GAP_DIM, gaussian_gap, gaussian_gap_reference
from thermokern.ops.hutchinson import PROBES, hutchinson, hutchinson_reference, probes
from thermokern.ops.kdtree import KDTree
from thermokern.ops.langevin import LangevinSums, langevin, langevin_reference
from thermokern.ops.mixture_score import MixtureScore, mixture_score, mixture_score_reference
from thermokern.ops.mlp_gap import MAX_GAP_CONDITIONS, MAX_GAP_FEATURES, mlp_gap, mlp_gap_reference
from thermokern.ops.mlp_score_divergence import PRODUCTS, mlp_score_divergence, mlp_score_divergence_reference
from thermokern.ops.neighbours import Neighbours, count_within_reference, distances_reference, neighbours_reference
from thermokern.ops.normals import normals, normals_reference
from thermokern.ops.probability_flow import DONE as FLOW_DONE
from thermokern.ops.probability_flow import NEEDS_FINER as FLOW_NEEDS_FINER
from thermokern.ops.probability_flow import FlowField, FlowSums, probability_flow, probability_flow_reference
from thermokern.ops.statistics import (
    ExponentialSums,
    Moments,
    exponential_sums,
    exponential_sums_reference,
    moments,
    moments_reference,
)
from thermokern.ops.step_table import DIRECTIONS, DIVERGENCE_WEIGHT, SCHEMES, RateTable, StepTable
from thermokern.ops.trajectory import (
    MixtureSource,
    MlpSource,
    NodeScore,
    Source,
    TrajectorySums,
    Visit,
    trajectory,
    trajectory_reference,
)
from thermokern.ops.trajectory_averages import (
    OBSERVABLES,
    TrajectoryAverages,
    trajectory_averages,
    trajectory_averages_reference,
)
from thermokern.ops.trajectory_block import BlockSums, trajectory_block, trajectory_block_reference
from thermokern.ops.trajectory_parts import (
    CHAIN,
    DIFFERENCE,
    FORMS,
    SCHEME,
    SQUARED,
    PartTable,
    TrajectoryParts,
    trajectory_parts,
    trajectory_parts_reference,
)
from thermokern.ops.trajectory_step import StepSums, trajectory_step, trajectory_step_reference

__all__ = [
    "CHAIN",
    "DIFFERENCE",
    "DIRECTIONS",
    "DIVERGENCE_WEIGHT",
    "FLOW_DONE",
    "FLOW_NEEDS_FINER",
    "FORMS",
    "MAX_GAP_CONDITIONS",
    "MAX_GAP_DIM",
    "MAX_GAP_FEATURES",
    "OBSERVABLES",
    "PROBES",
    "PRODUCTS",
    "SCHEME",
    "SCHEMES",
    "SQUARED",
    "BlockSums",
    "CoarseSums",
    "ExponentialSums",
    "FlowField",
    "FlowSums",
    "FlowTable",
    "KDTree",
    "LangevinSums",
    "MixtureScore",
    "MixtureSource",
    "MlpSource",
    "Moments",
    "Neighbours",
    "NodeScore",
    "PartTable",
    "RateTable",
    "Source",
    "StepSums",
    "StepTable",
    "TrajectoryAverages",
    "TrajectoryParts",
    "TrajectorySums",
    "Visit",
    "coarse_sums",
    "count_within_reference",
    "distances_reference",
    "exponential_sums",
    "exponential_sums_reference",
    "gaussian_gap",
    "gaussian_gap_reference",
    "hutchinson",
    "hutchinson_reference",
    "langevin",
    "langevin_reference",
    "mixture_score",
    "mixture_score_reference",
    "mlp_gap",
    "mlp_gap_reference",
    "mlp_score_divergence",
    "mlp_score_divergence_reference",
    "moments",
    "moments_reference",
    "neighbours_reference",
    "no_coarse_sums",
    "normals",
    "normals_reference",
    "probability_flow",
    "probability_flow_reference",
    "probes",
    "trajectory",
    "trajectory_averages",
    "trajectory_averages_reference",
    "trajectory_block",
    "trajectory_block_reference",
    "trajectory_parts",
    "trajectory_parts_reference",
    "trajectory_reference",
    "trajectory_step",
    "trajectory_step_reference",
]
