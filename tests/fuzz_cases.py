"""What the fuzzer calls: every public function with good arguments, and values that arguments may come with."""

from __future__ import annotations

import functools
import inspect
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import thermokern as tk
from thermokern import ops
from thermokern.processes import flow_table, rate_table, step_table

F64 = torch.float64


class Case(NamedTuple):
    """A function and arguments with which it works, made anew for each call."""

    function: Callable[..., Any]
    good: Callable[[], dict[str, Any]]


def cloud(n: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=F64)


PROCESS = tk.VP()
LAW = tk.Gaussian([0.5, -0.5], 0.8)
PAIR = tk.JointGaussian([[1.0, 0.3], [0.3, 1.0]], [[1.0, 0.0], [0.0, 1.0]], 0.5)
TABLE, RATES = step_table(PROCESS, PROCESS.grid(4), "stratonovich"), rate_table(PROCESS, PROCESS.grid(4))
FLOW = flow_table(PROCESS, 1e-3, 4)
PARTS = ops.PartTable(TABLE, 0.0 * TABLE.times, torch.zeros(len(TABLE.times), dtype=torch.int64), 1, False)
NODES, FLOW_NODES = len(TABLE.times), len(FLOW.times)
FOLDER = Path(tempfile.mkdtemp())
torch.manual_seed(0)
NETWORK = tk.ScoreModel(tk.ScoreMLP(2, width=4, depth=1, time_features=4), PROCESS)
tk.save_checkpoint(FOLDER / "network", NETWORK)


@functools.cache
def unet() -> dict[str, Any]:
    """A small U-Net of diffusers and its scheduler."""
    import diffusers

    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "layers_per_block": 1}
    sizes = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "block_out_channels": (8,), "norm_num_groups": 4}
    return {"unet": diffusers.UNet2DModel(**sizes, **blocks), "scheduler": diffusers.DDPMScheduler()}


FEW = {"n_paths": 3, "n_steps": 4}
OTHER = tk.Gaussian([0.4, -0.5], 0.9)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that these are few paths and steps
    FORWARD = tk.taep(LAW, OTHER, PROCESS, **FEW)
    REVERSE = tk.taep(LAW, OTHER, PROCESS, direction="reverse", driver="model", **FEW)
    SUBSET = tk.parameter_subset(NETWORK, "layers.0", 3)
    CURVATURE = tk.loss_curvature(NETWORK, cloud(12, 2).float(), SUBSET, n_samples=8)
    NOISE = tk.gradient_noise(NETWORK, cloud(12, 2).float(), SUBSET, n_samples=8)
FORWARD.save(FOLDER / "result")


def path_values() -> dict[str, Any]:
    """Values of three paths that depend on two parameters."""
    parameter = torch.tensor([0.5, -0.5], dtype=F64, requires_grad=True)
    return {
        "taep": (cloud(3, 2) * parameter).sum(1).square(),
        "parameters": [parameter],
        "direction": [torch.ones(2, dtype=F64)],
    }


def mixture_source(table: Any) -> ops.MixtureSource:
    one = torch.ones(1, 2, dtype=F64)
    return ops.MixtureSource(0 * one, one, torch.ones(1, dtype=F64), table.mean_scale, table.variance)


def node_score(x: torch.Tensor, node: int) -> tuple[torch.Tensor, torch.Tensor]:
    return -x, -2.0 * torch.ones(len(x), dtype=x.dtype)


def flow_field(x: torch.Tensor, node: int, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return -x, -2.0 * torch.ones(len(x), 1, dtype=x.dtype)


def columns(**values: Any) -> Callable[[], dict[str, Any]]:
    """Good arguments, of which tensors are cloned for each call."""
    return lambda: {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in values.items()}


X, Y = cloud(12, 2), cloud(12, 2, 1)
MIXED = {"means": cloud(3, 2), "variances": cloud(3, 2).square() + 0.1, "weights": torch.full((3,), 1 / 3, dtype=F64)}
MLP = {"weights": [cloud(4, 2), cloud(2, 4)], "biases": cloud(1, 6)[0], "activation": "silu"}
STEP = {"x": X, "model": X, "reference": Y, "table": TABLE}
BLOCK = {"x": cloud(24, 2).reshape(2, 12, 2), "model": cloud(24, 2, 1).reshape(2, 12, 2), "table": TABLE, "first": 0}
BLOCK |= {"reference": cloud(24, 2, 2).reshape(2, 12, 2), "noise": cloud(36, 2, 3).reshape(3, 12, 2)}
BLOCK |= {"divergence": cloud(2, 12)}
LANGEVIN = {"x": X, "drift": -torch.eye(2, dtype=F64), "noise": torch.eye(2, dtype=F64)}
LANGEVIN |= {"circulation": torch.zeros(2, 2, dtype=F64), "steps": torch.full((4,), 0.1, dtype=F64)}
GAP = {"from_first": X.T.contiguous(), "from_second": Y.T.contiguous(), "rotation": torch.eye(2, dtype=F64)}
GAP |= {"first": torch.tensor([0.5, 2.0], dtype=F64), "second": torch.tensor([1.0, 0.3], dtype=F64)}
GAP |= {"centre": torch.tensor([0.2, -0.1], dtype=F64)}
GAP |= {"mean_scale": torch.full((12,), 0.6, dtype=F64), "root": torch.full((12,), 0.8, dtype=F64)}
MLP_GAP = {"from_centre": GAP["from_first"], "centre": GAP["centre"], "activation": "silu", "weights": MLP["weights"]}
MLP_GAP |= {"biases": [cloud(1, 4)[0], cloud(1, 2)[0]], "context": [cloud(4, 3), cloud(2, 3)], "level": cloud(2, 12)}
MLP_GAP |= {"condition": cloud(2, 12)[:, None], "enter": cloud(2, 12), "scale": cloud(2, 12)}
MLP_GAP |= {"skip": cloud(2, 12), "mean_scale": GAP["mean_scale"], "root": GAP["root"]}
LEAF = torch.ops.thermokern.neighbours_build(X, 64, True, 1.0, 1)
SMALL = {"stderr": False, "bias": False}
INFORMATION = {"evaluations": 64, "ends": False}

OPS = {
    "coarse_sums": Case(
        ops.coarse_sums,
        lambda: {
            "sums": ops.no_coarse_sums(X),
            "table": step_table(PROCESS, PROCESS.grid(4), "stratonovich", coarse=True),
            "first": 0,
            **{name: BLOCK[name][:2].clone() for name in ("model", "reference", "divergence", "noise")},
        },
    ),
    "count_within_reference": Case(ops.count_within_reference, columns(x=X, y=Y, radius=torch.ones(12, dtype=F64))),
    "distances_reference": Case(ops.distances_reference, columns(x=X, y=Y)),
    "exponential_sums": Case(ops.exponential_sums, columns(values=X[:, 0])),
    "exponential_sums_reference": Case(ops.exponential_sums_reference, columns(values=X[:, 0])),
    "gaussian_gap": Case(ops.gaussian_gap, columns(**GAP)),
    "gaussian_gap_reference": Case(ops.gaussian_gap_reference, columns(**GAP)),
    "hutchinson": Case(ops.hutchinson, columns(products=X)),
    "hutchinson_reference": Case(ops.hutchinson_reference, columns(products=X)),
    "langevin": Case(ops.langevin, columns(**LANGEVIN)),
    "langevin_reference": Case(ops.langevin_reference, columns(**LANGEVIN)),
    "mixture_score": Case(ops.mixture_score, columns(x=X, **MIXED)),
    "mixture_score_reference": Case(ops.mixture_score_reference, columns(x=X, **MIXED)),
    "mlp_score_divergence": Case(ops.mlp_score_divergence, columns(x=X, **MLP)),
    "mlp_score_divergence_reference": Case(ops.mlp_score_divergence_reference, columns(x=X, **MLP)),
    "mlp_gap": Case(ops.mlp_gap, columns(**MLP_GAP)),
    "mlp_gap_reference": Case(ops.mlp_gap_reference, columns(**MLP_GAP)),
    "moments": Case(ops.moments, columns(values=X[:, 0])),
    "moments_reference": Case(ops.moments_reference, columns(values=X[:, 0])),
    "neighbours_reference": Case(ops.neighbours_reference, columns(x=X, k=2)),
    "no_coarse_sums": Case(ops.no_coarse_sums, columns(x=X)),
    "normals": Case(ops.normals, columns(n=3, count=2)),
    "normals_reference": Case(ops.normals_reference, columns(n=3, count=2)),
    "probability_flow": Case(
        ops.probability_flow, lambda: {"x": X.clone(), "table": FLOW, "model": mixture_source(FLOW)}
    ),
    "probability_flow_reference": Case(
        ops.probability_flow_reference, lambda: {"x": X.clone(), "table": FLOW, "field": flow_field}
    ),
    "probes": Case(ops.probes, columns(n=3, dim=2)),
    "trajectory": Case(
        ops.trajectory,
        lambda: {"x": X.clone(), "table": TABLE, "model": mixture_source(TABLE), "reference": mixture_source(TABLE)},
    ),
    "trajectory_averages": Case(
        ops.trajectory_averages,
        lambda: {"x": X.clone(), "table": RATES, "model": mixture_source(RATES), "reference": mixture_source(RATES)},
    ),
    "trajectory_averages_reference": Case(
        ops.trajectory_averages_reference,
        lambda: {"x": X.clone(), "table": RATES, "model": node_score, "reference": node_score},
    ),
    "trajectory_block": Case(ops.trajectory_block, columns(**BLOCK)),
    "trajectory_block_reference": Case(ops.trajectory_block_reference, columns(**BLOCK)),
    "trajectory_parts": Case(
        ops.trajectory_parts,
        lambda: {"x": X.clone(), "parts": PARTS, "model": mixture_source(TABLE), "reference": mixture_source(TABLE)},
    ),
    "trajectory_parts_reference": Case(
        ops.trajectory_parts_reference,
        lambda: {"x": X.clone(), "parts": PARTS, "model": node_score, "reference": node_score},
    ),
    "trajectory_reference": Case(
        ops.trajectory_reference,
        lambda: {"x": X.clone(), "table": TABLE, "model": node_score, "reference": node_score},
    ),
    "trajectory_step": Case(ops.trajectory_step, columns(**STEP, node=0, divergence=X[:, 0])),
    "trajectory_step_reference": Case(ops.trajectory_step_reference, columns(**STEP, node=0, divergence=X[:, 0])),
}
LAWS = {
    "EDM": Case(tk.EDM, columns(sigma_max=80.0)),
    "VE": Case(tk.VE, columns(sigma=25.0)),
    "VP": Case(tk.VP, columns(beta_min=0.1, beta_max=20.0)),
    "SubVP": Case(tk.SubVP, columns(beta_min=0.1, beta_max=20.0)),
    "CosineVP": Case(tk.CosineVP, columns(s=0.008, alpha_bar_min=1e-4)),
    "DiscreteVP": Case(tk.DiscreteVP, columns(alphas_cumprod=[0.9, 0.5, 0.1])),
    "Flow": Case(tk.Flow, columns(t_end=0.99)),
    "DDPM": Case(tk.DDPM, columns(alphas_cumprod=[0.9, 0.5, 0.1])),
    "Empirical": Case(tk.Empirical, columns(points=X)),
    "Gaussian": Case(tk.Gaussian, columns(mean=[0.0, 1.0], covariance=0.5)),
    "GaussianMixture": Case(tk.GaussianMixture, columns(means=[[0.0, 1.0], [1.0, 0.0]], std=0.5)),
    "JointGaussian": Case(tk.JointGaussian, columns(covariance_x=[[1.0, 0.2], [0.2, 1.0]], A=[[1.0, 0.0]])),
    "Labelled": Case(tk.Labelled, columns(laws=[LAW, LAW], weights=[0.5, 0.5])),
    "SwissRoll": Case(tk.SwissRoll, columns(noise=0.5)),
    "TrainingMonitor": Case(tk.TrainingMonitor, columns(data=LAW, n_paths=4, n_steps=4)),
    "UniformBox": Case(tk.UniformBox, columns(low=[0.0, 0.0], high=[1.0, 2.0])),
    "KDTree": Case(tk.KDTree, columns(x=X)),
    "LinearForce": Case(tk.LinearForce, columns(matrix=[[1.0, 0.0], [0.0, 2.0]])),
    "ScoreMLP": Case(tk.ScoreMLP, columns(dim=2, width=4, depth=1, time_features=4)),
    "ScoreModel": Case(tk.ScoreModel, lambda: {"network": lambda x, t: -x, "process": PROCESS}),
    "ConditionalModel": Case(tk.ConditionalModel, lambda: {"network": lambda x, t, y: -x, "process": PROCESS}),
}
VERBS = {
    "concatenate": Case(tk.concatenate, lambda: {"parts": [FORWARD]}),
    "coverage": Case(tk.coverage, columns(real=X, generated=Y, k=2, stderr=False)),
    "detailed_fluctuation_theorem": Case(
        tk.detailed_fluctuation_theorem, lambda: {"forward": FORWARD, "reverse": REVERSE, "bins": 4}
    ),
    "divergence": Case(tk.divergence, lambda: {"field": lambda x: -x, "x": X.clone()}),
    "elbo": Case(tk.elbo, columns(model=LAW, x=X, process=PROCESS, n_times=4)),
    "entropy_production": Case(
        tk.entropy_production, lambda: {"force": tk.LinearForce(torch.eye(2)), "diffusion": 1.0, "x0": LAW, **FEW}
    ),
    "entropy_rates": Case(tk.entropy_rates, columns(model=LAW, data=LAW, process=PROCESS, **FEW)),
    "entropy_table": Case(tk.entropy_table, columns(x=cloud(60, 2), ks=(1, 3))),
    "fit_scores": Case(
        tk.fit_scores, columns(x=cloud(20, 2), process=PROCESS, width=4, depth=1, steps=2, batch_size=4)
    ),
    "from_ddpm": Case(tk.from_ddpm, lambda: {"network": lambda x, t: -x, "alphas_cumprod": [0.9, 0.5, 0.1]}),
    "from_flow": Case(tk.from_flow, lambda: {"velocity": lambda x, t: -x}),
    "gradient_noise": Case(
        tk.gradient_noise,
        lambda: {
            "model": NETWORK,
            "x0": X.float(),
            "subset": SUBSET,
            "n_samples": 8,
            "n_steps": 4,
        },
    ),
    "loss_curvature": Case(
        tk.loss_curvature, lambda: {"model": NETWORK, "x0": X.float(), "subset": SUBSET, "n_samples": 8}
    ),
    "noise_curvature": Case(tk.noise_curvature, lambda: {"curvatures": [CURVATURE], "noises": [NOISE], "top": 2}),
    "path_derivatives": Case(tk.path_derivatives, path_values),
    "bartlett": Case(tk.bartlett, lambda: {"derivatives": tk.path_derivatives(**path_values())}),
    "parameter_subset": Case(tk.parameter_subset, columns(network=NETWORK, name="layers.0", n=3)),
    "parameter_subsets": Case(tk.parameter_subsets, columns(network=NETWORK, n=3)),
    "from_diffusers": Case(tk.from_diffusers, lambda: dict(unet())),
    "guided": Case(tk.guided, columns(conditional=LAW, unconditional=LAW, weight=2.0, process=PROCESS)),
    "histogram_entropy": Case(tk.histogram_entropy, columns(x=cloud(60, 2), bins=3)),
    "info": Case(tk.info, columns()),
    "knn_divergence": Case(tk.knn_divergence, columns(x=X, y=Y, k=2, **SMALL)),
    "knn_total_correlation": Case(tk.knn_total_correlation, columns(x=X, k=2, **SMALL)),
    "kozachenko_leonenko": Case(tk.kozachenko_leonenko, columns(x=X, k=2, bias=False)),
    "ksg_mutual_information": Case(tk.ksg_mutual_information, columns(x=X[:, :1], y=X[:, 1:], k=2, **SMALL)),
    "limits": Case(tk.limits, columns(model=LAW, data=LAW, process=PROCESS, n_likelihood=2, **FEW)),
    "load": Case(tk.load, columns(path=FOLDER / "result")),
    "load_checkpoint": Case(tk.load_checkpoint, columns(path=FOLDER / "network")),
    "log_likelihood": Case(tk.log_likelihood, columns(model=LAW, x=X, process=PROCESS)),
    "mutual_information": Case(
        tk.mutual_information, columns(conditional=PAIR, process=PROCESS, growth=False, **INFORMATION)
    ),
    "neural_entropy": Case(tk.neural_entropy, columns(model=LAW, data=LAW, process=PROCESS, **INFORMATION)),
    "optimal_schedule": Case(
        tk.optimal_schedule,
        columns(model=LAW, data=LAW, process=PROCESS, n_paths=4, n_times=8, n_steps=(2, 3), dtype=F64),
    ),
    "overlap": Case(tk.overlap, columns(forward=FORWARD, reverse=REVERSE)),
    "pointwise_mutual_information": Case(
        tk.pointwise_mutual_information,
        lambda: (
            {"conditional": PAIR, "unconditional": None, "x": X[:2].clone(), "y": X[:2].clone(), "process": PROCESS}
            | {"evaluations": 8}
        ),
    ),
    "sample": Case(tk.sample, columns(model=NETWORK, n=3, n_steps=4, shape=(2,))),
    "save_checkpoint": Case(tk.save_checkpoint, columns(path=FOLDER / "copy", model=NETWORK)),
    "score_matching_loss": Case(
        tk.score_matching_loss, lambda: {"model": NETWORK, "x0": X.float(), "generator": torch.Generator()}
    ),
    "taep": Case(tk.taep, columns(model=LAW, reference=tk.Gaussian([0.4, 0.0], 1.1), process=PROCESS, **FEW)),
    "total_correlation": Case(tk.total_correlation, columns(model=LAW, data=LAW, process=PROCESS, **INFORMATION)),
}
METHODS = {
    "KDTree.query": Case(tk.KDTree(X).query, columns(x=Y, k=2)),
    "KDTree.neighbours": Case(tk.KDTree(X).neighbours, columns(k=2)),
    "KDTree.count_within": Case(tk.KDTree(X).count_within, columns(y=Y, radius=1.0)),
    "KDTree.query_ball_point": Case(tk.KDTree(X).query_ball_point, columns(x=Y, r=1.0)),
    "KDTree.query_pairs": Case(tk.KDTree(X).query_pairs, columns(r=0.5)),
    "KDTree.count_neighbors": Case(tk.KDTree(X).count_neighbors, lambda: {"other": tk.KDTree(Y), "r": 0.5}),
    "ScoreModel.forward": Case(NETWORK, lambda: {"x": X.float(), "t": 0.5}),
    "Gaussian.score": Case(LAW.score, columns(x=X, t=0.5, process=PROCESS)),
    "Gaussian.log_prob": Case(LAW.log_prob, columns(x=X, t=0.5, process=PROCESS)),
    "Gaussian.sample": Case(LAW.sample, columns(n=3)),
    "UniformBox.score": Case(tk.UniformBox([0.0], [1.0]).score, columns(x=X[:, :1], t=0.5, process=PROCESS)),
    "Empirical.log_prob": Case(tk.Empirical(X).log_prob, columns(x=X, t=0.5, process=PROCESS)),
    "JointGaussian.sample": Case(PAIR.sample, columns(n=3)),
    "VP.grid": Case(PROCESS.grid, columns(n_steps=4)),
    "VP.mean_scale": Case(PROCESS.mean_scale, columns(t=0.5)),
    "VP.variance": Case(PROCESS.variance, columns(t=0.5)),
}
CASES = {**{f"ops.{name}": case for name, case in OPS.items()}, **LAWS, **VERBS, **METHODS}


def parameters_of(function: Callable[..., Any]) -> list[str]:
    """The names that an argument may have."""
    if isinstance(function, torch.nn.Module):
        function = function.forward
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind not in kinds]


# ---- values

VALUES: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "-1": lambda: -1,
    "0": lambda: 0,
    "1": lambda: 1,
    "3": lambda: 3,
    "10**30": lambda: 10**30,
    "2**62": lambda: 2**62,
    "2**45": lambda: 2**45,
    "0.25": lambda: 0.25,
    "-1.5": lambda: -1.5,
    "1e-300": lambda: 1e-300,
    "1e300": lambda: 1e300,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "complex": lambda: 1j,
    "str": lambda: "x",
    "empty str": lambda: "",
    "bytes": lambda: b"x",
    "list": lambda: [],
    "list of one": lambda: [1],
    "list of str": lambda: ["a", "b"],
    "ragged": lambda: [[1.0], [1.0, 2.0]],
    "dict": lambda: {"a": 1},
    "object": object,
    "function": lambda: lambda *arguments, **keywords: None,
    "float function": lambda: lambda *arguments, **keywords: 1.0,
    "nan function": lambda: lambda x, *rest, **keywords: x * float("nan"),
    "wide function": lambda: lambda x, *rest, **keywords: torch.cat([x, x], 1),
    "np.int64": lambda: np.int64(3),
    "np.float32": lambda: np.float32(0.25),
    "np array": lambda: np.linspace(-1.0, 1.0, 24).reshape(12, 2) ** 3,
    "np reversed": lambda: (np.linspace(-1.0, 1.0, 24).reshape(12, 2) ** 3)[::-1],
    "np big-endian": lambda: (np.linspace(-1.0, 1.0, 24).reshape(12, 2) ** 3).astype(">f8"),
    "np masked": lambda: np.ma.masked_array(np.ones((12, 2)), np.eye(12, 2)),
    "np objects": lambda: np.array([object(), None]),
    "np strings": lambda: np.array(["a", "b"]),
    "np dates": lambda: np.array(["2020-01-01"], dtype="datetime64[D]"),
    "scalar tensor": lambda: torch.tensor(3),
    "nan tensor": lambda: torch.tensor(float("nan")),
    "tensor (12, 2)": lambda: cloud(12, 2, 5),
    "tensor (12, 2) float32": lambda: cloud(12, 2, 5).float(),
    "tensor (12,)": lambda: cloud(12, 1, 5)[:, 0],
    "tensor (0, 2)": lambda: torch.empty(0, 2, dtype=F64),
    "tensor (12, 0)": lambda: torch.empty(12, 0, dtype=F64),
    "tensor (0,)": lambda: torch.empty(0),
    "tensor (2, 3, 4)": lambda: torch.ones(2, 3, 4, dtype=F64),
    "tensor (12, 40)": lambda: cloud(12, 40),
    "integers": lambda: torch.arange(24).reshape(12, 2),
    "booleans": lambda: torch.eye(12, 2, dtype=torch.bool),
    "half": lambda: cloud(12, 2, 5).half(),
    "complex tensor": lambda: torch.complex(cloud(12, 2), cloud(12, 2)),
    "meta": lambda: torch.empty(12, 2, device="meta"),
    "sparse": lambda: torch.eye(12, 2).to_sparse(),
    "gradient": lambda: cloud(12, 2, 5).requires_grad_(),
    "tensor of nan": lambda: torch.full((12, 2), float("nan"), dtype=F64),
    "tensor of inf": lambda: torch.full((12, 2), float("inf"), dtype=F64),
    "tensor of 1e300": lambda: torch.full((12, 2), 1e300, dtype=F64),
    "tensor of 1e30 float32": lambda: torch.full((12, 2), 1e30),
    "tensor of copies": lambda: torch.ones(12, 2, dtype=F64),
    "strided": lambda: cloud(24, 2, 5)[::2],
    "law": lambda: LAW,
    "law of one dimension": lambda: tk.Gaussian([0.0], 1.0),
    "process": lambda: tk.VE(),
    "network": lambda: NETWORK,
    "result": lambda: FORWARD,
    "table": lambda: TABLE,
    "pair": lambda: PAIR,
    "dtype": lambda: torch.float64,
    "bfloat16": lambda: torch.bfloat16,
    "device": lambda: torch.device("cpu"),
    "path": lambda: FOLDER / "missing",
    "folder": lambda: FOLDER,
}

LARGE = ("10**30", "2**62", "2**45")
# Numbers that a function must take and that no test can wait for.
ENDLESS = {("fit_scores", name, value) for name in ("steps", "batch_size") for value in LARGE}
# Arguments with which some numbers of a result are NaN by what its documentation says.
UNKNOWN = {("loss_curvature", "top", value) for value in VALUES} | {
    *(("noise_curvature", "top", value) for value in ("1",)),
    *(("UniformBox.score", "t", value) for value in ("0", "False")),
    *(("ops.trajectory_averages", "x", value) for value in ("tensor (0, 2)",)),
    *((name, "n_paths", "0") for name in CASES),
}
