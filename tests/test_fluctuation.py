"""Reverse paths and the detailed fluctuation theorem, and that each way to get it wrong shows."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from scipy import stats

import thermokern as tk
from thermokern.papers.ding2026.collapses import shipped_checkpoints
from thermokern.processes import step_table
from thermokern.quantities.taep.fluctuation import DetailedFluctuationTheorem

RING = tk.GaussianMixture.ring()
BIASED = tk.GaussianMixture.ring(weights=[0.02] + [0.14] * 7)
# Off centre and not noised away: KL(p_T ‖ prior) is about 1.
SHORT = tk.VP(0.1, 4.0)


def off_centre(weight: float) -> tk.GaussianMixture:
    return tk.GaussianMixture([[3.0, 0.0], [6.0, 1.0]], std=0.5, weights=[weight, 1.0 - weight])


def both(model: object, reference: object, process: object, **options: object) -> tuple[tk.TAEP, tk.TAEP]:
    forward = tk.taep(model, reference, process, **options)
    reverse = tk.taep(model, reference, process, direction="reverse", **options)
    return forward, reverse


def assert_holds(theorem: DetailedFluctuationTheorem, sharp: float = 0.1) -> None:
    assert abs(theorem.slope.z(1.0)) < 3.0, theorem.summary()
    assert abs(theorem.intercept.z(0.0)) < 3.0, theorem.summary()
    assert theorem.slope.stderr < sharp
    assert theorem.intercept.stderr < sharp


@pytest.mark.filterwarnings("ignore:the standard error of ⟨exp")  # which the theorem does not use
@pytest.mark.parametrize("scheme", tk.ops.SCHEMES)
@pytest.mark.parametrize("from_prior", [False, True])
@pytest.mark.parametrize("law", ["ring VP", "ring VE", "off centre"])
def test_theorem_holds(law: str, from_prior: bool, scheme: str) -> None:
    model, reference, process = {
        "ring VP": (BIASED, RING, tk.VP()),
        "ring VE": (BIASED, RING, tk.VE()),
        "off centre": (off_centre(0.3), off_centre(0.6), SHORT),
    }[law]
    options = {"n_paths": 20_000, "scheme": scheme, "from_prior": from_prior, "seed": 1, "extrapolate": False}
    if scheme == "ito":  # of order ½, and reverse paths have an error of the step of their own
        options["n_steps"] = 2000
    forward, reverse = both(model, reference, process, **options)
    assert_holds(tk.detailed_fluctuation_theorem(forward, reverse))
    assert abs(reverse.fluctuation_theorem.z(1.0)) < 3.0
    assert abs(forward.fluctuation_theorem.z(1.0)) < 3.0
    assert reverse.backend == "fused"


@pytest.mark.parametrize("chain", ["ddpm", "ddpm-large"])
def test_theorem_holds_for_each_chain(chain: str) -> None:
    """Reverse paths take the chain's own reverse steps; those of another chain would fail."""
    options = {"n_paths": 20_000, "n_steps": 400, "scheme": "sampler", "chain": chain, "spacing": "log-snr"}
    forward, reverse = both(off_centre(0.3), off_centre(0.6), SHORT, **options)
    assert_holds(tk.detailed_fluctuation_theorem(forward, reverse))


@pytest.mark.parametrize(
    "process", [tk.SubVP(), tk.CosineVP(), tk.EDM(20.0), tk.Flow()], ids=lambda process: type(process).__name__
)
def test_theorem_holds_under_every_kind_of_process(process: tk.VP) -> None:
    forward, reverse = both(BIASED, RING, process, n_paths=20_000)
    assert_holds(tk.detailed_fluctuation_theorem(forward, reverse))


@pytest.mark.filterwarnings("ignore:the standard error of ⟨exp")  # few paths
def test_theorem_holds_for_a_trained_network() -> None:
    network = tk.load_checkpoint(shipped_checkpoints() / "m2_eps0.01.safetensors")
    forward, reverse = both(network, RING, None, n_paths=4000, n_steps=250)
    assert_holds(tk.detailed_fluctuation_theorem(forward, reverse))
    assert abs(reverse.fluctuation_theorem.z(1.0)) < 3.0


def test_slope_and_intercept_have_calibrated_errors() -> None:
    slopes, intercepts = [], []
    for seed in range(60):
        forward, reverse = both(off_centre(0.3), off_centre(0.6), SHORT, n_paths=2000, n_steps=300, seed=seed)
        theorem = tk.detailed_fluctuation_theorem(forward, reverse)
        slopes.append(theorem.slope.z(1.0))
        intercepts.append(theorem.intercept.z(0.0))
    for z in (slopes, intercepts):
        assert stats.kstest(z, "norm").pvalue > 0.01


def test_a_missing_prior_correction_shows() -> None:
    """Reverse paths from the prior beside forward values without log p_T/π: off by many standard errors."""
    options = {"n_paths": 400_000, "n_steps": 200}
    forward = tk.taep(off_centre(0.3), off_centre(0.6), SHORT, **options)
    corrected = tk.taep(off_centre(0.3), off_centre(0.6), SHORT, from_prior=True, **options)
    kl = (corrected.values - forward.values).double().mean().item()
    assert kl > 0.1
    reverse = tk.taep(off_centre(0.3), off_centre(0.6), SHORT, direction="reverse", from_prior=True, **options)
    prior = SHORT.prior(2).log_prob(reverse.x_end.double())
    law = off_centre(0.6).log_prob(reverse.x_end.double(), SHORT.t_end, SHORT)
    uncorrected = dataclasses.replace(reverse, values=reverse.values - (law - prior).float())
    wrong = tk.detailed_fluctuation_theorem(*(_relabel(result) for result in (forward, uncorrected)))
    assert max(abs(wrong.slope.z(1.0)), abs(wrong.intercept.z(0.0))) > 10.0


def test_a_flipped_sign_shows() -> None:
    forward, reverse = both(BIASED, RING, tk.VP(), n_paths=20_000, n_steps=500)
    wrong = tk.detailed_fluctuation_theorem(forward, dataclasses.replace(reverse, values=-reverse.values))
    assert abs(wrong.slope.z(1.0)) > 10.0


def test_paths_driven_by_the_reference_show() -> None:
    """With the exact score at the wheel, reverse paths retrace the data and nothing is time-asymmetric about them."""
    forward, _ = both(BIASED, RING, tk.VP(), n_paths=20_000, n_steps=500)
    driven = tk.taep(RING, BIASED, tk.VP(), n_paths=20_000, n_steps=500, direction="reverse")
    swapped = dataclasses.replace(driven, values=-driven.values, settings=_as_reverse(forward))
    wrong = tk.detailed_fluctuation_theorem(forward, swapped)
    assert abs(wrong.slope.z(1.0)) > 10.0


@pytest.mark.parametrize("process", [tk.VP(), tk.VE()], ids=["VP", "VE"])
def test_reverse_paths_against_their_end_points(process: tk.VP | tk.VE) -> None:
    """The same closed form as forward, Eq. 36; the inferred noise of a wrong sign fails by far."""
    for scheme, bound in (("stratonovich", 0.01), ("ito", 0.08), ("backward-ito", 0.08)):
        result = tk.taep(BIASED, RING, process, n_paths=3000, scheme=scheme, direction="reverse")
        error = (result.values - result.endpoint_log_ratio).double().square().mean().sqrt().item()
        assert error < bound
    weights = BIASED.weights
    modes = (result.x_start[:, None] - RING.means.float()).square().sum(2).argmin(1)
    shares = torch.bincount(modes, minlength=8).double() / 3000
    assert (((shares - weights) / (weights * (1 - weights) / 3000).sqrt()).abs().max().item()) < 4.5


def test_backward_ito_on_reverse_paths_is_minus_its_own_noise() -> None:
    """A = −Σ D h |δ|² − Σ g √h δ·z̃, an identity of the scheme; its first sum is the mismatch accumulated beside it."""
    result = tk.taep(BIASED, RING, tk.VP(), n_paths=50_000, direction="reverse", scheme="backward-ito")
    assert abs(result.mean.value + result.score_matching.value) < 4.0 * result.mean.stderr


@pytest.mark.parametrize("scheme", tk.ops.SCHEMES)
@pytest.mark.parametrize("process", [tk.VP(), tk.VE()], ids=["VP", "VE"])
@pytest.mark.filterwarnings("ignore:the standard error of ⟨exp")  # few paths
def test_fused_reverse_paths_agree_with_the_float64_reference(process: tk.VP | tk.VE, scheme: str) -> None:
    """The rounding yardstick, at the 99th percentile: where a path decides between modes the dynamics magnify rounding,
    in plain PyTorch as much as here, and the largest error of a sample says little. test_float64 has the tight bound.
    """
    options = {"n_paths": 1000, "n_steps": 200, "scheme": scheme, "direction": "reverse"}
    fused = tk.taep(BIASED, RING, process, **options)
    plain = tk.taep(BIASED, RING, process, backend="reference", **options)
    exact = tk.taep(BIASED, RING, process, backend="reference", dtype=torch.float64, **options)
    for name in ("values", "x_start"):
        truth = getattr(exact, name)
        ours, theirs = ((getattr(r, name) - truth).abs().flatten().quantile(0.99).item() for r in (fused, plain))
        scale = truth.abs().max().item()
        assert ours < 2.0 * theirs + 4.0 * torch.finfo(torch.float32).eps * scale, (ours, theirs)


def test_reverse_columns_retrace_a_forward_step() -> None:
    """The noise read off a reverse step leads the forward step back to where the reverse step came from."""
    process = tk.VP(0.3, 7.0)
    times = process.grid(5)
    ahead, back = (step_table(process, times, "ito", direction) for direction in ("forward", "reverse"))
    generator = torch.Generator().manual_seed(0)
    for k in range(1, 6):
        x, score, z = torch.randn(3, 4, generator=generator, dtype=torch.float64)
        row = {
            name: back.column(name)[5 - k]
            for name in ("drift", "push", "noise", "seen_position", "seen_score", "seen_noise")
        }
        earlier = row["drift"] * x + row["push"] * score + row["noise"] * z
        seen = row["seen_position"] * x + row["seen_score"] * score + row["seen_noise"] * z
        again = ahead.column("drift")[k - 1] * earlier + ahead.column("noise")[k - 1] * seen
        assert (again - x).abs().max().item() < 1e-13


@pytest.mark.filterwarnings("ignore:the standard error of ⟨exp")  # few paths
def test_ensembles_that_do_not_belong_together_are_refused() -> None:
    forward, reverse = both(BIASED, RING, tk.VP(), n_paths=50, n_steps=5)
    with pytest.raises(ValueError, match="^forward: expected forward"):
        tk.detailed_fluctuation_theorem(reverse, reverse)
    with pytest.raises(ValueError, match="^reverse: expected reverse"):
        tk.detailed_fluctuation_theorem(forward, forward)
    other = tk.taep(BIASED, RING, tk.VP(), n_paths=50, n_steps=6, direction="reverse")
    with pytest.raises(ValueError, match="^reverse: n_steps differs"):
        tk.detailed_fluctuation_theorem(forward, other)
    none = tk.taep(BIASED, RING, tk.VP(), n_paths=0, n_steps=5, direction="reverse")
    with pytest.raises(ValueError, match="^reverse: expected at least two"):
        tk.detailed_fluctuation_theorem(forward, none)
    with pytest.raises(ValueError, match="^bins"):
        tk.detailed_fluctuation_theorem(forward, reverse, bins=0)


def test_equal_scores_leave_nothing_to_regress_on() -> None:
    forward, reverse = both(RING, RING, tk.VP(), n_paths=50, n_steps=5)
    theorem = tk.detailed_fluctuation_theorem(forward, reverse)
    assert math.isnan(theorem.slope.value)


def test_histograms_are_densities_and_their_ratio_is_the_line() -> None:
    forward, reverse = both(off_centre(0.3), off_centre(0.6), SHORT, n_paths=40_000, n_steps=300)
    theorem = tk.detailed_fluctuation_theorem(forward, reverse, bins=30)
    width = theorem.edges[1] - theorem.edges[0]
    for density in (theorem.forward_density, theorem.reverse_density):
        assert abs((density.sum() * width).item() - 1.0) < 1e-12
    centre = 0.5 * (theorem.edges[1:] + theorem.edges[:-1])
    usable = theorem.log_ratio_stderr < 0.3
    z = ((theorem.log_ratio - centre) / (theorem.log_ratio_stderr + 0.5 * width))[usable]
    assert int(usable.sum()) > 8
    assert z.abs().max().item() < 4.0


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"direction": "backward"}, "direction"),
        ({"direction": "reverse", "n_paths": None, "x0": torch.zeros(3, 2)}, "x0"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}"):
        tk.taep(BIASED, RING, tk.VP(), **{"n_paths": 4, "n_steps": 3, **change})
    with pytest.raises(TypeError, match="^reference"):
        tk.taep(BIASED, lambda x, t: -x, tk.VP(), x0=torch.zeros(3, 2), from_prior=True)


def _relabel(result: tk.TAEP) -> tk.TAEP:
    return dataclasses.replace(result, settings={**result.settings, "from_prior": False})


def _as_reverse(forward: tk.TAEP) -> dict[str, object]:
    return {**forward.settings, "direction": "reverse"}
