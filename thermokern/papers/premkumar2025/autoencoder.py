"""What the latents of a diffusion autoencoder tell of the labels: Premkumar, Fig. 4, 12, 13, 15 and 16, on digits."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm.auto import tqdm

from thermokern.models import ConditionalModel, fit_scores
from thermokern.papers.ding2026.images import CLASSES, digit_labels, load_images
from thermokern.papers.experiment import Experiment
from thermokern.papers.premkumar2025.labelled_unet import split
from thermokern.papers.premkumar2025.latents import Encoder, blur, train_autoencoder, train_gaussian_decoder
from thermokern.papers.premkumar2025.laws import PROCESS
from thermokern.papers.premkumar2025.shipped import GamblerResult, shipped
from thermokern.quantities import Estimate, FewPathsWarning, MutualInformation, mutual_information, sample
from thermokern.quantities.results.estimate import mean_estimate
from thermokern.quantities.results.storage import stored
from thermokern.quantities.results.style import COLLAPSED, EXACT, INK, NETWORK, style
from thermokern.targets import Labelled

LATENTS = ("semantic", "semantic of x_τ", "perceptual")
_COLOURS = dict(zip(LATENTS, (EXACT, "#2f855a", NETWORK), strict=True))
_SHOWN = 300  # points of the maps
_IMAGES = 8


@stored("kelly-autoencoder-profile")
@dataclass(frozen=True)
class AutoencoderProfile:
    """Times τ, training steps of autoencoders and of the scores of latents, evaluations, dimension and price."""

    name: str
    taus: tuple[float, ...]
    steps: int
    score_steps: int
    evaluations: int
    latent: int = 8
    weight: float = 0.05


PROFILES = {
    "quick": AutoencoderProfile("quick", (0.1, 0.4, 0.7), 300, 300, 1024),
    "full": AutoencoderProfile("full", tuple(round(0.1 * k, 1) for k in range(1, 10)), 1500, 3000, 8192),
}


@stored("kelly-latent")
@dataclass(frozen=True)
class LatentRow:
    """One kind of latent at one τ.

    Attributes
    ----------
    growth : Estimate
        Of bets on held-out labels by a logistic regression from z: a certified lower bound of I(Z;Y).
    loss, gap : Estimate
        By scores trained on pairs (z, y), on held-out ones.
    ceiling : Estimate
        I(X_τ;Y) of the empirical law, by exact scores.
    """

    kind: str
    tau: float
    growth: Estimate
    loss: Estimate
    gap: Estimate
    ceiling: Estimate


@stored("kelly-autoencoder")
@dataclass(frozen=True, eq=False)
class KellyAutoencoder(GamblerResult):
    """Latents by τ, their maps at the least τ, and both decoders with two latents.

    Attributes
    ----------
    rows : tuple of LatentRow
    maps : Tensor
        (2, n, 2) t-SNE of semantic and perceptual latents at the first τ; `labels` (n,) their digits.
    planes : Tensor
        (2, n, 2) latents of two dimensions, of a diffusion decoder and of a Gaussian one.
    plane_growth : tuple of Estimate
        The certified bound of either.
    pictures : Tensor
        (3, 8, 8, 8) originals, and reconstructions by either decoder.
    """

    title = "Which stage of diffusion knows the label"
    picture = "kelly_autoencoder.png"
    alt = "Maps of latents, their information about the label by τ, two decoders"
    caption = (
        "t-SNE of latents of held-out digits, a colour for each digit; certified lower bounds of I(Z;Y) by τ (± 2 "
        "s.e.), with the information I(X_τ;Y) that the noisy image itself holds; latents of two dimensions for a "
        "diffusion decoder and for a Gaussian one, and their reconstructions."
    )
    remark = (
        "An encoder that is given x may say more of the label than x_τ does: z is made of x, and only an encoder that "
        "is given x_τ has I(X_τ;Y) for a ceiling."
    )

    profile: AutoencoderProfile
    label_entropy: float
    rows: tuple[LatentRow, ...]
    maps: Tensor
    planes: Tensor
    labels: Tensor
    plane_growth: tuple[Estimate, ...]
    pictures: Tensor

    def of(self, kind: str) -> list[LatentRow]:
        """The rows of one kind of latent, by τ."""
        return [row for row in self.rows if row.kind == kind]

    def tables(self) -> str:
        """Every latent's bound and estimates beside the ceiling, for people."""
        names = f"{'certified I(Z;Y) ≥':>20}{'loss':>18}{'gap':>19}{'I(X_τ;Y)':>21}{'above it by':>17}"
        head = f"{'latent':<18}{'τ':>5}{names}"
        lines = [f"digits, H(Y) = {self.label_entropy:.4f} nats", head, "-" * len(head)]
        for row in self.rows:
            over = Estimate(row.growth.value - row.ceiling.value, math.hypot(row.growth.stderr, row.ceiling.stderr))
            lines.append(
                f"{row.kind:<18}{row.tau:>5g}{row.growth!s:>20}{row.loss!s:>18}{row.gap!s:>19}{row.ceiling!s:>21}"
                f"{over!s:>17}"
            )
        lines += ["", "two latent dimensions, all noise levels"]
        for name, each in zip(("diffusion decoder", "Gaussian decoder"), self.plane_growth, strict=True):
            lines.append(f"  {name:<20}{each}")
        p = self.profile
        return "\n".join([*lines, f"profile {p.name}: {p.steps:,} training steps, latents of {p.latent} dimensions"])

    def law(self) -> str:
        return "the joint law of held-out digits' latents and labels"

    def conclusion(self) -> list[str]:
        """Which stage knows the label."""
        first, other = self.of(LATENTS[0])[0], self.of(LATENTS[2])[0]
        share = [row.growth.value / self.label_entropy for row in (first, other)]
        return [
            f"At τ = {first.tau:g} the semantic latent tells at least {first.growth} nats of the digit, {share[0]:.0%} "
            f"of what there is to know; the perceptual one {other.growth}, {share[1]:.0%}.",
            "These are certified by bets on held-out digits; the estimates from scores are not.",
        ]

    def numbers(self) -> dict[str, object]:
        return {
            "experiment": "kelly-autoencoder",
            "profile": self.profile,
            "label_entropy": self.label_entropy,
            "rows": self.rows,
            "plane_growth": self.plane_growth,
        }

    def columns(self) -> dict[str, list[object]]:
        """A row for each latent and τ."""
        names = ("kind", "tau", "growth", "loss", "gap", "ceiling")
        return {name: [getattr(row, name) for row in self.rows] for name in names}

    def figure(self) -> Figure:
        """Maps of latents (Fig. 4, 15), information by τ (Fig. 16), and both decoders (Fig. 12, 13)."""
        with style():
            figure = Figure(figsize=(12.6, 7.4), layout="constrained")
            above, below = figure.subplots(2, 3)
            for axes, points, name in zip(above[:2], self.maps, ("semantic", "perceptual"), strict=True):
                _scatter(axes, points, self.labels, f"t-SNE, {name}, τ = {self.profile.taus[0]:g}")
            _draw_information(above[2], self)
            for axes, points, growth, name in zip(
                below[:2], self.planes, self.plane_growth, ("diffusion", "Gaussian"), strict=True
            ):
                _scatter(axes, points, self.labels, f"{name} decoder, I(Z;Y) ≥ {growth.value:.2f}")
            framed = torch.nn.functional.pad(self.pictures, (0, 1, 0, 1), value=1.0)
            rows = torch.cat([torch.cat(list(row), dim=1) for row in framed])
            below[2].imshow(rows.numpy(), cmap="gray", vmin=-1.0, vmax=1.0)
            below[2].set(title="original, diffusion and Gaussian decoder", xticks=[], yticks=[])
        return figure

    def lead(self) -> str:
        return (
            "Diffusion autoencoders on digits whose latents serve noise levels above τ (semantic) or below it "
            "(perceptual), after Premkumar, Fig. 4, 12, 13, 15 and 16: what either tells of the digit."
        )


def _scatter(axes: Axes, points: Tensor, labels: Tensor, title: str) -> None:
    x, y = points.unbind(1)
    axes.scatter(x.numpy(), y.numpy(), c=labels.numpy(), cmap="tab10", s=7, lw=0, vmin=-0.5, vmax=9.5, rasterized=True)
    axes.set(title=title, xticks=[], yticks=[])


def _draw_information(axes: Axes, result: KellyAutoencoder) -> None:
    for kind in LATENTS:
        rows = result.of(kind)
        axes.errorbar(
            *([row.tau for row in rows], [row.growth.value for row in rows]),
            yerr=[2.0 * row.growth.stderr for row in rows],
            fmt="o-",
            ms=3.5,
            lw=1.1,
            color=_COLOURS[kind],
            label=kind,
        )
    rows = result.of(LATENTS[0])
    axes.plot([row.tau for row in rows], [row.ceiling.value for row in rows], color=COLLAPSED, lw=1.4, label="I(X_τ;Y)")
    axes.axhline(result.label_entropy, color=INK, lw=0.8, ls=":", label="H(Y)")
    axes.set(title="information about the digit", xlabel="τ", ylabel="certified I(Z;Y), nats", ylim=(0.0, None))
    axes.legend(fontsize=7)


def certified(train: Tensor, train_y: Tensor, test: Tensor, test_y: Tensor) -> Estimate:
    """``E ln π(y|z)/p(y)`` on held-out pairs, π a logistic regression of z and its squares."""
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped, import-not-found, unused-ignore]

    centre, scale = train.mean(0), train.std(0).clamp_min(1e-6)

    def features(z: Tensor) -> np.ndarray[Any, Any]:
        z = (z - centre) / scale
        return torch.cat([z, z.square()], dim=1).double().numpy()

    fit = LogisticRegression(C=1.0, max_iter=300).fit(features(train), train_y.numpy())
    chances = torch.from_numpy(fit.predict_log_proba(features(test)))
    prior = (torch.bincount(test_y, minlength=CLASSES).double() / len(test_y)).log()
    gains: Tensor = chances.gather(1, test_y[:, None])[:, 0] - prior[test_y]
    return mean_estimate(gains)


def kelly_autoencoder(profile: AutoencoderProfile, *, seed: int = 0, progress: bool = True) -> KellyAutoencoder:
    """Train an autoencoder for each τ and judge its latents on held-out digits."""
    x, y = load_images("digits").flatten(1), digit_labels()
    used, held_out = split(len(x), 0.3, seed)
    law = Labelled.from_points(x.double(), y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewPathsWarning)
        exact = mutual_information(law, process=PROCESS, evaluations=profile.evaluations, growth=False, seed=seed)
        rows, maps = [], []
        for tau in tqdm(profile.taus, disable=not progress, unit="τ", desc="autoencoders"):
            options = {"latent": profile.latent, "steps": profile.steps, "weight": profile.weight, "seed": seed}
            plain = train_autoencoder(x[used], tau, **options)  # type: ignore[arg-type]
            noisy = train_autoencoder(x[used], tau, blurred=True, **options)  # type: ignore[arg-type]
            generator = torch.Generator().manual_seed(seed + 1)
            latents = {
                LATENTS[0]: plain.semantic.draw(x, generator)[0],
                LATENTS[1]: noisy.semantic.draw(blur(x, tau, generator), generator)[0],
                LATENTS[2]: plain.perceptual.draw(x, generator)[0],
            }
            for kind, z in latents.items():
                rows.append(_row(kind, tau, z, y, used, held_out, exact, profile, seed))
            if tau == profile.taus[0]:
                maps = [_map(latents[kind][held_out[:_SHOWN]], seed) for kind in (LATENTS[0], LATENTS[2])]
    planes, growths, pictures = _planes(x, y, used, held_out, profile, seed)
    return KellyAutoencoder(
        profile=profile,
        label_entropy=law.label_entropy,
        rows=tuple(rows),
        maps=torch.stack(maps),
        planes=planes,
        labels=y[held_out[:_SHOWN]],
        plane_growth=growths,
        pictures=pictures,
    )


def _row(
    kind: str,
    tau: float,
    z: Tensor,
    y: Tensor,
    used: Tensor,
    held_out: Tensor,
    exact: MutualInformation,
    profile: AutoencoderProfile,
    seed: int,
) -> LatentRow:
    training = {"steps": profile.score_steps, "batch_size": 128, "width": 64, "depth": 2, "seed": seed}
    model = fit_scores(z[used], y[used], process=PROCESS, **training)  # type: ignore[arg-type]
    assert isinstance(model, ConditionalModel)
    options = {"evaluations": profile.evaluations, "growth": False, "seed": seed}
    found = mutual_information(model, None, z[held_out], y[held_out], **options)  # type: ignore[arg-type]
    return LatentRow(
        kind=kind,
        tau=tau,
        growth=certified(z[used], y[used], z[held_out], y[held_out]),
        loss=found.loss,
        gap=found.gap,
        ceiling=exact.at(PROCESS.log_snr(tau)),
    )


def _map(z: Tensor, seed: int) -> Tensor:
    from sklearn.manifold import TSNE  # type: ignore[import-untyped, import-not-found, unused-ignore]

    return torch.from_numpy(TSNE(random_state=seed, n_jobs=1).fit_transform(z.numpy())).float()


def _planes(
    x: Tensor, y: Tensor, used: Tensor, held_out: Tensor, profile: AutoencoderProfile, seed: int
) -> tuple[Tensor, tuple[Estimate, ...], Tensor]:
    """Latents of two dimensions for a diffusion decoder, all of whose levels share one, and for a Gaussian decoder."""
    diffusion = train_autoencoder(x[used], 0.0, 2, profile.steps, profile.weight, seed=seed)
    encoder, decoder = train_gaussian_decoder(x[used], 2, profile.steps, profile.weight, seed)
    generator = torch.Generator().manual_seed(seed + 2)
    encoders: tuple[Encoder, ...] = (diffusion.semantic, encoder)
    latents = [each.draw(x, generator)[0] for each in encoders]
    growths = tuple(certified(z[used], y[used], z[held_out], y[held_out]) for z in latents)
    chosen = held_out[:_IMAGES]
    made = [
        sample(diffusion.decoder.given(z), n=1, method="heun", n_steps=20, t_eps=1e-3, shape=(64,), seed=seed + k)
        for k, z in enumerate(encoders[0](x[chosen])[0])
    ]
    pictures = torch.stack([x[chosen], torch.cat(made).float(), decoder(encoder(x[chosen])[0])])
    planes = torch.stack([z[held_out[:_SHOWN]] for z in latents])
    return planes, growths, pictures.reshape(3, _IMAGES, 8, 8)


def _run(profile: str, out: Path, *, seed: int, progress: bool) -> KellyAutoencoder:
    if profile == "shipped":
        return shipped("autoencoder", KellyAutoencoder)
    return kelly_autoencoder(PROFILES[profile], seed=seed, progress=progress)


EXPERIMENT = Experiment(
    name="kelly-autoencoder",
    help="what latents for little and for much noise tell of the label: Premkumar, Fig. 4, 12, 13, 15, 16",
    profiles={
        "shipped": "the result of the full profile that comes with the package",
        "quick": "three times τ and 300 training steps, half a minute of one core",
        "full": "nine times τ and 1,500 training steps, some eight minutes of one core",
    },
    run=_run,
    saved=True,
)
