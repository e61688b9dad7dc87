"""What a diffusion model of images stores, and what labels tell of them: Premkumar, Fig. 14, with bounds."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermokern.papers.ding2026.images import CLASSES, DATA, load_images, load_labels
from thermokern.papers.experiment import Experiment, Option
from thermokern.papers.premkumar2025.labelled_unet import LabelledProfile, labelled_model, split
from thermokern.papers.premkumar2025.shipped import GamblerResult, shipped
from thermokern.quantities import (
    Estimate,
    FewPathsWarning,
    MutualInformation,
    NeuralEntropy,
    PointwiseMutualInformation,
    mutual_information,
    neural_entropy,
    pointwise_mutual_information,
)
from thermokern.quantities.information.verdicts import certain_in_words
from thermokern.quantities.results.estimate import mean_estimate
from thermokern.quantities.results.storage import stored
from thermokern.quantities.results.style import COLLAPSED, EXACT, INK, MUTED, NETWORK, style
from thermokern.targets import Labelled

PRINTED = {"mnist": (4.1, 2017.9), "cifar10": (7.5404, 7776.2)}  # I and S_NN of Fig. 14, nats
_EVALUATED = 5000
QUICK = LabelledProfile("quick")
PROFILES = {
    "quick": QUICK,
    "reduced": replace(QUICK, name="reduced", steps=1500, evaluations=4096, bets=200),
    "full": replace(
        QUICK,
        name="full",
        channels=(32, 64, 64),
        layers=2,
        learning_rate=1e-3,
        steps=20_000,
        evaluations=16_384,
        bets=1000,
    ),
}


@stored("kelly-images")
@dataclass(frozen=True, eq=False)
class KellyImages(GamblerResult):
    """One network on one data set.

    Attributes
    ----------
    information : MutualInformation
        Of held-out images and labels, by the network's scores.
    entropy, entropy_given : NeuralEntropy
        S_NN without and with labels.
    bets : PointwiseMutualInformation
        Of single held-out images and every label.
    hits : Estimate
        The share of those images whose label has the largest posterior.
    exact : MutualInformation or None
        Of the empirical law of all images, by exact scores, for digits.
    """

    title = "Images and their labels: estimates, and what no estimate may exceed"
    picture = "kelly_images.png"
    alt = "Entropy rates, information from noise to each level between its bounds, information by label"
    caption = (
        "Entropy rate: of the entropy that the network stores, with labels and without. Information at each noise "
        "level, by gap and loss (± 2 s.e.), between H(Y) above and the growth rate of bets below; and label by label."
    )

    profile: LabelledProfile
    data: str
    information: MutualInformation
    entropy: NeuralEntropy
    entropy_given: NeuralEntropy
    bets: PointwiseMutualInformation
    hits: Estimate
    exact: MutualInformation | None

    @property
    def growth(self) -> Estimate:
        """The growth rate of bets on labels, which bounds the information from below."""
        assert self.bets.growth is not None
        return self.bets.growth

    def tables(self) -> str:
        """Estimates, bounds and what the paper prints, for people."""
        found, stored_ = self.information, self.entropy.integral
        assert found.label_entropy is not None
        lines = [
            f"{self.data}: U-Net of {self.profile.steps:,} training steps, held-out images, {found.n_evaluations:,} "
            "evaluations, nats",
            f"  gap (MINDE, as in the paper)   {found.gap}",
            f"  loss                           {found.loss}",
            f"  loss − gap, 0 if consistent    {found.orthogonality}",
            f"  H(Y), no information exceeds   {found.label_entropy.value:.4f}   (ln {CLASSES} = "
            f"{math.log(CLASSES):.4f})",
            f"  Kelly growth, certified        {self.growth}   ({len(self.bets.values)} images, right label "
            f"{100.0 * self.hits.value:.0f} %)",
            f"  S_NN                           {stored_}",
            f"  S_NN with labels               {self.entropy_given.integral}",
            f"  gap / S_NN                     {found.gap.value / stored_.value:.3g}",
        ]
        if self.exact is not None:
            lines.append(f"  empirical law, exact scores    {self.exact.value}")
        lines += [f"  {verdict.line()}" for verdict in found.verdicts]
        for name, (information, entropy) in PRINTED.items():
            lines.append(f"printed for {name + ':':<9} I = {information:g}, S_NN = {entropy:g}; impossible: I > ln 10")
        return "\n".join([*lines, f"profile {self.profile.name}"])

    def law(self) -> str:
        return f"the joint law of held-out images and labels of {self.data}, as the network's scores have it"

    def conclusion(self) -> list[str]:
        """Whether the estimates keep to their bounds, and what is certain."""
        found = self.information
        assert found.label_entropy is not None
        most = found.label_entropy.value
        over = [n for n, e in (("gap", found.gap), ("loss", found.loss)) if e.value - most > 3.0 * e.stderr]
        return [
            f"{certain_in_words(self.growth)} Labels hold {most:.3f} nats.",
            (
                f"By {' and by '.join(over)} the estimate exceeds what the labels hold, which errors of the scores "
                "must have added."
                if over
                else "Neither estimate exceeds what the labels hold."
            ),
        ]

    def numbers(self) -> dict[str, object]:
        known = {"exact": self.exact} if self.exact is not None else {}
        return {
            "experiment": "kelly-images",
            "profile": self.profile,
            "data": self.data,
            "printed": {name: list(pair) for name, pair in PRINTED.items()},
            "growth": self.growth,
            "hits": self.hits,
            "information": self.information,
            "entropy": self.entropy,
            "entropy_given": self.entropy_given,
            **known,
        }

    def columns(self) -> dict[str, list[object]]:
        """A row for each label."""
        return {"label": list(range(CLASSES)), "information": list(self.information.per_label)}

    def figure(self) -> Figure:
        """Rates of entropy (Fig. 14, left), the information by both estimators between its bounds, and by label."""
        with style():
            figure = Figure(figsize=(12.6, 3.8), layout="constrained")
            one, two, three = figure.subplots(1, 3)
            for name, found, colour in (
                ("S_NN", self.entropy, EXACT),
                ("S_NN with labels", self.entropy_given, NETWORK),
            ):
                one.stairs(found.curve.rate.numpy(), found.curve.log_snr.numpy(), color=colour, label=name)
            one.set(title=f"entropy rate, {self.data}", xlabel="λ = ln(m²/v)", ylabel="nats per unit of λ")
            one.legend()
            _draw_information(two, self)
            values = self.information.per_label
            three.bar(
                *(range(len(values)), [each.value for each in values]),
                yerr=[2.0 * each.stderr if math.isfinite(each.stderr) else 0.0 for each in values],
                color=EXACT,
                alpha=0.7,
                ecolor=INK,
            )
            three.set(title="of each label, by loss, ± 2 s.e.", xlabel="label", ylabel="KL(p(x|y) ‖ p(x)), nats")
        return figure

    def lead(self) -> str:
        return (
            f"A diffusers U-Net trained on {self.data} with labels, after Premkumar, Fig. 14: its estimates of the "
            "information between image and label, beside the entropy of the labels, which they may not exceed, and the "
            "growth rate of bets, which is certain."
        )


def _draw_information(axes: Axes, result: KellyImages) -> None:
    found = result.information
    curves = {"loss": (found.curve, NETWORK), "gap": (found.other_curve, COLLAPSED)}
    if found.estimator == "gap":
        curves = {"gap": (found.curve, COLLAPSED), "loss": (found.other_curve, NETWORK)}
    if result.exact is not None:
        curves["empirical law, exact"] = (result.exact.curve, EXACT)
    for name, (curve, colour) in curves.items():
        # From t_end on: what lies above is not known where a network's rate does not fall there.
        edges, width = curve.log_snr.numpy(), curve.log_snr.diff()
        start = torch.zeros(1, dtype=torch.float64)
        values = torch.cat([start, (curve.rate * width).cumsum(0)]).numpy()
        error = 2.0 * torch.cat([start, (curve.rate_stderr * width).square().cumsum(0).sqrt()]).nan_to_num().numpy()
        axes.plot(edges, values, color=colour, lw=1.3, label=name)
        axes.fill_between(edges, values - error, values + error, color=colour, alpha=0.2, lw=0)
    assert found.label_entropy is not None
    axes.axhline(found.label_entropy.value, color=INK, lw=0.9, ls=":", label="H(Y)")
    axes.axhline(result.growth.value, color=MUTED, lw=0.9, ls="--", label="growth of bets")
    axes.set(title="information at each noise level", xlabel="λ = ln(m²/v)", ylabel="I(X at λ; Y), nats")
    axes.legend(fontsize=7)


def kelly_images(
    profile: LabelledProfile,
    data: str,
    root: Path | None,
    folder: Path,
    *,
    seed: int = 0,
    progress: bool = True,
) -> KellyImages:
    """Train on four fifths of the images and evaluate on others."""
    images, labels = load_images(data, root), load_labels(data, root)
    used, held_out = split(len(images), profile.held_out, seed)
    model = labelled_model(profile, data, images[used], labels[used], folder, seed=seed, progress=progress)
    x, y = images[held_out[:_EVALUATED]], labels[held_out[:_EVALUATED]]
    n = profile.evaluations
    weights = torch.bincount(y, minlength=CLASSES).double() / len(y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewPathsWarning)
        options = {"evaluations": n, "seed": seed, "progress": progress}
        found = mutual_information(model, None, x, y, growth=False, **options)  # type: ignore[arg-type]
        alone = neural_entropy(model.unconditional, x, **options)  # type: ignore[arg-type]
        given = neural_entropy(model, x, condition=y, **options)  # type: ignore[arg-type]
        bets = pointwise_mutual_information(
            *(model, None, x[: profile.bets], y[: profile.bets]),
            candidates=torch.arange(CLASSES),
            weights=weights,
            seed=seed,
            progress=progress,
        )
        exact = None
        if data == "digits":
            law = Labelled.from_points(images.flatten(1).double(), labels)
            process = model.process
            # The gap of this law has heavy tails, and its scores cost little beside a U-Net's.
            exact = mutual_information(law, process=process, evaluations=4 * n, growth=False, seed=seed)
    assert bets.posterior is not None
    right = (bets.posterior.argmax(1) == y[: profile.bets]).double()
    return KellyImages(profile, data, found, alone, given, bets, mean_estimate(right, ""), exact)


def _run(profile: str, out: Path, *, seed: int, progress: bool, data: str | None, root: Path | None) -> KellyImages:
    if profile == "shipped":
        return shipped("images", KellyImages)
    chosen, name = PROFILES[profile], data or "digits"
    if profile == "quick" and name != "digits":  # sixteen times the pixels: fewer bets keep it within three minutes
        chosen = replace(chosen, bets=24)
    return kelly_images(chosen, name, root, out / "network", seed=seed, progress=progress)


EXPERIMENT = Experiment(
    name="kelly-images",
    help="information between images and labels, between its bounds: Premkumar, Fig. 14",
    profiles={
        "shipped": "the result of the reduced profile for digits, which comes with the package",
        "quick": "a small U-Net of 250 training steps: half a minute for digits, three minutes for the other data",
        "reduced": "1,500 steps, one and a half minutes for digits",
        "full": "a larger U-Net of 20,000 steps, for MNIST, Fashion-MNIST and CIFAR-10: hours, or a GPU's minutes",
    },
    options=(
        Option("--data", "images to train on; digits when left out", choices=DATA),
        Option("--root", "folder of the files of mnist and fashion-mnist (IDX) or cifar10 (binary version)", Path),
    ),
    run=_run,
    saved=True,
)
