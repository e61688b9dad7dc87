"""Likelihoods and entropy rates of networks on images whose law is not known, from images that training did not see."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from thermokern.models import ScoreLike, ScoreModel, from_diffusers
from thermokern.models.evaluate import score_of
from thermokern.papers.ding2026.image_training import QUICK, ImageProfile, load_unet, make_scheduler, train_unet
from thermokern.papers.ding2026.images import load_images
from thermokern.processes import LinearProcess
from thermokern.quantities import TAEP, Estimate, FewPathsWarning, load, log_likelihood, taep
from thermokern.quantities.engine.problem import log_prior
from thermokern.quantities.likelihood import rate_averages as ra
from thermokern.quantities.likelihood.rates import averages_of
from thermokern.quantities.results.estimate import mean_estimate
from thermokern.quantities.results.storage import save, stored
from thermokern.targets import Gaussian

LEVELS = {"digits": 17, "mnist": 256, "fashion-mnist": 256, "cifar10": 256}  # values of a pixel
FIT = "Gaussian fit"
_SHORT = replace(QUICK, saved=(50, 100, 200, 500))


@dataclass(frozen=True)
class ImageLimitsProfile:
    """How much is done; the defaults are the quick profile, for digits.

    Attributes
    ----------
    name : str
    training : ImageProfile
        The U-Net, and the training steps at which it is evaluated.
    n_train, n_held : int
        Images of the file, in a random order, that are trained on and that are evaluated.
    copies : int
        Of each image that is trained on, with dequantisation noise of its own.
    n_likelihood, tolerance : int, float
        Images held out whose probability-flow equation is solved, and its rtol and atol.
    rate_steps, n_steps : int
        Of the grids of entropy rates and of the TAEP.
    """

    name: str = "quick"
    training: ImageProfile = _SHORT
    n_train: int = 1297
    n_held: int = 96
    copies: int = 8
    n_likelihood: int = 48
    tolerance: float = 1e-4
    rate_steps: int = 48
    n_steps: int = 111

    def settings(self) -> dict[str, Any]:
        return asdict(self)


QUICK_DIGITS = ImageLimitsProfile()
REDUCED_DIGITS = replace(
    QUICK_DIGITS,
    name="reduced",
    training=replace(QUICK, saved=(100, 200, 400, 800, 1600, 3200)),
    n_held=400,
    n_likelihood=256,
    rate_steps=96,
)
QUICK_FILES = replace(
    QUICK_DIGITS,
    n_train=20_000,
    copies=1,
    training=replace(QUICK, batch_size=32, saved=(30, 100)),
    n_held=24,
    n_likelihood=16,
    rate_steps=32,
    n_steps=37,
)
REDUCED_FILES = replace(
    QUICK_FILES,
    name="reduced",
    training=replace(QUICK, batch_size=32, saved=(50, 200, 800)),
    n_held=64,
    n_likelihood=32,
)
PROFILES = {
    "quick": (QUICK_DIGITS, QUICK_FILES),
    "reduced": (REDUCED_DIGITS, REDUCED_FILES),
}


@stored("image-network")
@dataclass(frozen=True)
class ImageNetwork:
    """What is measured of one model; nats of an image, of the law at t_eps on the scale of the data.

    Attributes
    ----------
    name : str
    step : int
        Of training; 0 of the Gaussian.
    nll_ode : Estimate
        Of the probability-flow equation.
    nll_plugin : Estimate
        ``S(p_T) − ∫f d dt + ∫D E[∇·s_θ]dt``.
    elbo, elbo_seen : Estimate
        ``S_data + M`` with ``M = ∫D E|s_θ − s|²dt``: an upper bound on S_data; the same over images of the training.
    half_rate : Estimate
        ``½ S(p_T) − ½∫Ṡ_θ dt``: the bound of Kodama and Hinczewski, Eq. 6, less ½ S_data.
    entropy_bound : Estimate
        ``2 NLL_ODE + ∫Ṡ_θ dt − S(p_T)``, which they take for a bound on S_data.
    surplus : Estimate
        NLL_ODE less the plug-in one, of the same images.
    excess : Estimate
        M less that of the last network: the mean TAEP against it over paths from the data.
    distance : Estimate
        ``P = ∫D E|s_θ − s_last|²dt``, along the same paths.
    least : Estimate
        ``(P − excess)²/(4 P)``: M of the last network is at least this.
    nfe : float
        Evaluations for the likelihood of an image, on average.
    """

    name: str
    step: int
    nll_ode: Estimate
    nll_plugin: Estimate
    elbo: Estimate
    elbo_seen: Estimate
    half_rate: Estimate
    entropy_bound: Estimate
    surplus: Estimate
    excess: Estimate
    distance: Estimate
    least: Estimate
    nfe: float


def dequantised(images: Tensor, step: float, copies: int, seed: int) -> Tensor:
    """`copies` of each image, spread evenly over the bins of width `step` whose centres its values are."""
    generator = torch.Generator().manual_seed(seed)
    many = images.repeat(copies, *(1 for _ in images.shape[1:]))
    return many + step * (torch.rand(many.shape, generator=generator) - 0.5)


def read(data: str, root: Path | None) -> tuple[Tensor, float]:
    """Images (n, channels, height, width) without MNIST's padding, and the width of a grey level."""
    images = load_images(data, root)
    if data in ("mnist", "fashion-mnist"):
        images = images[..., 2:-2, 2:-2]
    return images, 2.0 / (LEVELS[data] - 1)


def evaluate(
    profile: ImageLimitsProfile, images: Tensor, step: float, out: Path, *, progress: bool = True
) -> tuple[tuple[ImageNetwork, ...], float]:
    """Train, then evaluate a Gaussian fit and the network at each of ``profile.training.saved``.

    Each of these leaves its file in `out`; stopped and called again, it goes on with what is left.

    Returns
    -------
    networks, prior_mismatch
        The latter is the largest that KL(p_T‖π) can be, nats, in which S(p_T) is not known.
    """
    training, seed = profile.training, profile.training.seed
    n = profile.n_train + profile.n_held
    if len(images) < n:
        raise ValueError(f"images: expected at least {n}, got {len(images)}")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    seen, held = images[order[: profile.n_train]], images[order[profile.n_train : n]]
    trained_on = dequantised(seen, step, profile.copies, seed)
    seen, held = trained_on[: profile.n_held], dequantised(held, step, 1, seed + 1)
    checkpoints = train_unet(training, trained_on, out / "checkpoints", progress=progress)
    scheduler, shape = make_scheduler(training), tuple(images.shape[1:])
    nets = [from_diffusers(load_unet(training, shape, path), scheduler) for path in checkpoints]
    process = nets[-1].process
    flat = trained_on.flatten(1).double()
    models: list[ScoreLike] = [Gaussian(flat.mean(0), flat.T.cov()), *nets]
    names = [FIT, *(f"step {step:,}" for step in training.saved)]
    key = json.dumps({**profile.settings(), "width": step}, sort_keys=True)
    folder = out / "evaluations" / hashlib.sha256(key.encode()).hexdigest()[:8]
    folder.mkdir(parents=True, exist_ok=True)
    between = [mean_score(model, nets[-1], process, held.shape[1:]) for model in models[:-1]]
    found = {
        kind: _taeps(kind, folder, those, nets[-1], held, profile, progress)
        for kind, those in (("taep", models[:-1]), ("half", between))
    }
    networks = []
    with tqdm(list(zip(names, models, strict=True)), disable=not progress, desc="evaluating") as bar:
        for i, (name, model) in enumerate(bar):
            path = folder / f"network_{i}.safetensors"
            if not path.is_file():
                at = training.saved[i - 1] if i else 0
                save(measure(name, at, model, process, held, seen, profile, seed), path)
            network = load(path)
            networks.append(network if model is nets[-1] else compared(network, found["taep"][i], found["half"][i]))
    v, m2 = process.variance(process.t_end), process.mean_scale(process.t_end) ** 2
    dim = flat.shape[1]
    far = m2 * held.double().flatten(1).square().sum(1).mean().item()
    return tuple(networks), 0.5 * (far + dim * (v - 1.0 - math.log(v)))


def measure(
    name: str,
    step: int,
    model: ScoreLike,
    process: LinearProcess,
    held: Tensor,
    seen: Tensor,
    profile: ImageLimitsProfile,
    seed: int,
) -> ImageNetwork:
    """What is measured of one model by itself."""
    rates, elbo, half, plugin, energy = _averages(model, process, held, profile, seed)
    elbo_seen = _averages(model, process, seen, profile, seed)[1]
    start = rates.times[0].item()
    count = profile.n_likelihood
    points = rates.x_start[:count].double() / process.mean_scale(start)
    shape = (-1,) if isinstance(model, Gaussian) else tuple(held.shape[1:])
    ode = log_likelihood(
        model,
        points.reshape(count, *shape),
        process,
        t_eps=start,
        rtol=profile.tolerance,
        atol=profile.tolerance,
        seed=seed,
    )
    own = -ode.values.double()
    zero = Estimate(0.0, 0.0)
    return ImageNetwork(
        name=name,
        step=step,
        nll_ode=mean_estimate(own),
        nll_plugin=mean_estimate(plugin),
        elbo=mean_estimate(elbo),
        elbo_seen=mean_estimate(elbo_seen),
        half_rate=mean_estimate(half),
        entropy_bound=mean_estimate(2.0 * own + energy[:count]),
        surplus=mean_estimate(own - plugin[:count]),
        excess=zero,
        distance=zero,
        least=zero,
        nfe=float(f"{ode.nfe.double().mean().item():.4g}"),
    )


def _averages(
    model: ScoreLike, process: LinearProcess, images: Tensor, profile: ImageLimitsProfile, seed: int
) -> tuple[ra.RateAverages, Tensor, Tensor, Tensor, Tensor]:
    """The pass over paths, and of each: the ELBO's value, Eq. 6 less ½ S_data, the plug-in NLL, ``∫Ṡ_θ − S(p_T)``.

    The prior's cross entropy stands for S(p_T).
    """
    points = images.flatten(1) if isinstance(model, Gaussian) else images
    rates, _ = averages_of(
        model,
        points,
        process,
        n_paths=None,
        n_steps=profile.rate_steps,
        t_eps=None,
        spacing="log-snr",
        divergence="auto",
        probes=1,
        seed=seed,
        path_offset=0,
        backend="auto",
        dtype=None,
        progress=False,
    )
    shift = rates.dim * math.log(process.mean_scale(rates.times[0].item()))
    drift = rates.dim * (rates.weight * rates.force).sum()
    noise = -log_prior(process, None, rates.dim, rates.x_end.double())
    energy, divergence = rates.integrals[:, ra.ENERGY], rates.integrals[:, ra.DIVERGENCE]
    rate = drift + energy - noise + shift  # of the scale of the data
    plugin = noise - drift + divergence - shift
    return rates, 2.0 * plugin + rate, -0.5 * rate, plugin, rate


def compared(network: ImageNetwork, whole: TAEP, half: TAEP) -> ImageNetwork:
    """The network with what its TAEP against the last one says, and that of the mean of their scores.

    M is quadratic along the line from the last score to this one, so that ``P = 2 excess − 4 excess of the mean``, path
    by path and to the order of extrapolated values; P summed over the nodes of the paths is of first order only.
    """
    values = whole.values.double()
    p = 2.0 * values - 4.0 * half.values.double()
    ratio = ((p - values).mean() / (2.0 * p.mean())).item()
    least = ratio * (p - values) - ratio**2 * p  # whose mean is (P − excess)²/(4 P), and whose spread is its error
    return replace(network, excess=mean_estimate(values), distance=mean_estimate(p), least=mean_estimate(least))


def mean_score(one: ScoreLike, other: ScoreLike, process: LinearProcess, shape: torch.Size) -> ScoreLike:
    """The mean of two scores."""

    def score(x: Tensor, t: float) -> Tensor:
        flat = x.flatten(1)
        both = score_of(one, process, flat, t, shape) + score_of(other, process, flat, t, shape)
        return 0.5 * both.reshape(x.shape)

    return score


def _taeps(
    kind: str,
    folder: Path,
    models: Sequence[ScoreLike],
    last: ScoreModel,
    held: Tensor,
    profile: ImageLimitsProfile,
    progress: bool,
) -> list[TAEP]:
    """The TAEP of each model against the last network over paths from images, kept in `folder`."""
    paths = [folder / f"{kind}_{i}.safetensors" for i in range(len(models))]
    if not all(path.is_file() for path in paths):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FewPathsWarning)  # of an exponential average, which is not used
            found = taep(
                models,
                last,
                last.process,
                x0=held,
                n_steps=profile.n_steps,
                scheme="backward-ito",
                seed=profile.training.seed,
                keep_ends=False,
                progress=progress,
            )
        for result, path in zip(found, paths, strict=True):
            result.save(path)
    return [load(path) for path in paths]
