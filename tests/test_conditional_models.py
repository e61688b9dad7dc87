"""Models with a condition for each sample: alone, guided, from diffusers, and trained."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from diffusers_cases import unet
from information_cases import F64, case_b, three_classes
from tolerances import assert_exact, assert_z, rms
from torch import Tensor, nn

import thermokern as tk
from thermokern.targets import law_score_at

VP = tk.VP()


class Shift(nn.Module):
    """``−(x − m y)``, or −x where y is NaN: the score of N(y, 1) and of N(0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        assert x.dtype == self.scale.dtype
        assert y.dtype == x.dtype
        m = VP.mean_scale(t.double()).to(x)[:, None]
        return -self.scale * (x - m * y.nan_to_num())


def test_conditional_model() -> None:
    """For each sample its own condition, in the network's precision; one for all; none."""
    model = tk.ConditionalModel(Shift(), VP, null=torch.tensor([math.nan]))
    x, t = torch.linspace(-1, 1, 5)[:, None], torch.full((5,), 0.3, dtype=F64)
    y = torch.linspace(0, 2, 5, dtype=F64)[:, None]
    m = VP.mean_scale(0.3)
    assert rms(model.at(x, t, y) + x - m * y) < 1e-6
    assert rms(model.given(torch.tensor([2.0]))(x, 0.3) + x - 2 * m) < 1e-6
    assert rms(model.unconditional(x, 0.3) + x) < 1e-6
    assert_exact(model.at(x, t, y)[3:4], model.at(x[3:4], t[3:4], y[3:4]))
    guided = model.guided(0.5)
    assert rms(guided.at(x, t, y) + x - 1.5 * m * y) < 1e-6
    half = tk.ConditionalModel(Shift().half(), VP, null=torch.tensor([math.nan]))
    out = half.at(x, t, y)
    assert out.dtype == torch.float32
    assert rms(out + x - m * y) < 5e-3
    labels = tk.ConditionalModel(lambda x, t, k: -x + k[:, None], VP, null=3)
    assert_exact(labels.given(2)(x, 0.3), labels.at(x, t, torch.full((5,), 2)))
    assert_exact(labels.unconditional(x, 0.3), -x + 3)


def test_guidance_takes_laws_and_conditions() -> None:
    law = case_b()
    x, y = law.sample(6, 1)
    t = torch.full((6,), 0.2, dtype=F64)
    one = law.score_at(x, t, y, VP)
    other = law.x.score(x, 0.2, VP)
    expected = 3.0 * one - 2.0 * other
    assert rms(tk.guided(law, None, 2.0, VP).at(x, t, y) - expected) < 1e-12
    model = tk.ConditionalModel(lambda x, t, y: law.score_at(x, t.double(), y, VP), VP)
    assert rms(tk.guided(model, law.x, 2.0).at(x, t, y) - expected) < 1e-12
    single = tk.guided(law.given(y[0]), law.x, 2.0, VP)
    assert rms(single(x[:1], 0.2) - expected[:1]) < 1e-12
    assert single.shape == (3,)
    labelled = three_classes()
    x, k = labelled.sample(6, 1)
    one, other = labelled.score_at(x, t, k, VP), labelled.marginal.score(x, 0.2, VP)
    assert rms(tk.guided(labelled, None, 2.0, VP).at(x, t, k) - (3.0 * one - 2.0 * other)) < 1e-12
    with pytest.raises(ValueError, match="^conditional: its process"):
        tk.guided(model, law.x, 2.0, tk.EDM())
    with pytest.raises(TypeError, match="^unconditional: expected"):
        tk.guided(law.given(y[0]), None, 2.0, VP)


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match="^network: expected"):
        tk.ConditionalModel("network", VP)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="^process: expected"):
        tk.ConditionalModel(lambda x, t, y: x, "VP")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^predicts: expected"):
        tk.ConditionalModel(lambda x, t, y: x, VP, "noise")
    model = tk.ConditionalModel(lambda x, t, y: x, VP)
    with pytest.raises(ValueError, match="^null: this model has no null"):
        _ = model.unconditional
    with pytest.raises(ValueError, match="^y: expected one condition for each of the 2 points"):
        model.at(torch.zeros(2, 1), torch.full((2,), 0.5, dtype=F64), torch.zeros(3))


def test_diffusers_with_labels() -> None:
    """Three classes and a null: as the library itself calls the network, whoever else is in the batch."""
    diffusers = pytest.importorskip("diffusers", reason="NOT RUN: the extra 'diffusers' is not installed")
    network = unet(num_class_embeds=4)
    scheduler = diffusers.DDPMScheduler()
    model = tk.from_diffusers(network, scheduler, condition="class_labels", null=3)
    assert isinstance(model, tk.ConditionalModel)
    assert model.shape == (1, 8, 8)
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    t, k = torch.tensor([1.0, 30.0, 400.0, 1000.0], dtype=F64), torch.tensor([0, 1, 2, 0])
    out = model.at(x, t, k)
    for i in range(4):
        fixed = tk.from_diffusers(network, scheduler, class_labels=int(k[i]))
        assert isinstance(fixed, tk.ScoreModel)
        own = fixed(x[i : i + 1], t[i].item())
        assert rms(out[i : i + 1] - own) < 1e-5 * rms(own), "one condition for all samples"
        alone = model.at(x[i : i + 1], t[i : i + 1], k[i : i + 1])
        assert rms(out[i : i + 1] - alone) < 1e-5 * rms(alone), "batch-mates"
    free = tk.from_diffusers(network, scheduler, class_labels=3)
    assert rms(model.unconditional(x, 400.0) - free(x, 400.0)) < 1e-6 * rms(free(x, 400.0))
    assert rms(out - model.unconditional.at(x, t)) > 1e-3 * rms(out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.FewEvaluationsWarning)
        found = tk.mutual_information(model, None, x.repeat(16, 1, 1, 1), k.repeat(16), evaluations=64, growth=False)
    assert len(found.per_label) == 3
    with pytest.raises(ValueError, match="^condition: class_labels is given"):
        tk.from_diffusers(network, scheduler, condition="class_labels", class_labels=1)
    with pytest.raises(ValueError, match="^null: pass condition= too"):
        tk.from_diffusers(network, scheduler, null=3)


def test_diffusers_with_text() -> None:
    """Embeddings for each sample, and that of the empty text."""
    diffusers = pytest.importorskip("diffusers", reason="NOT RUN: the extra 'diffusers' is not installed")
    torch.manual_seed(0)
    network = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4,
        cross_attention_dim=6,
        attention_head_dim=4,
    )
    network = network.eval().requires_grad_(False)
    text = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(2))
    model = tk.from_diffusers(
        network, diffusers.DDPMScheduler(clip_sample=False), condition="encoder_hidden_states", null=0.0 * text[0]
    )
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([5.0, 50.0, 500.0], dtype=F64)
    out = model.at(x, t, text)
    for i in range(3):
        expected = network(x[i : i + 1], t[i : i + 1].float() - 1.0, encoder_hidden_states=text[i : i + 1]).sample
        scale = -1.0 / model.process.variance(t[i].item()) ** 0.5
        assert rms(out[i : i + 1] - scale * expected) < 1e-5 * rms(out[i : i + 1])
    assert rms(model.unconditional.at(x, t) - out) > 1e-6 * rms(out)


def test_trained_on_numbers(seed: int) -> None:
    """Case B from 10,000 pairs in 500 steps: the loss within 0.15 of I; the same seed gives the same network."""
    law = case_b()
    x, y = law.sample(10_000, seed)
    model = tk.fit_scores(x, y, steps=500, process=VP, seed=seed)
    assert isinstance(model, tk.ConditionalModel)
    history = model.network.history
    assert len(history.held_out) == 2000
    assert history.validation[-1] < history.validation[0]
    assert history.validation[-1] < history.validation_null[-1]
    rows = history.held_out
    found = tk.mutual_information(model, None, x[rows], y[rows], evaluations=16_384, seed=seed)
    assert found.estimator == "loss"
    assert abs(found.loss.value - 2.493788) < 0.15
    assert found.orthogonality.stderr < 0.1
    again = tk.fit_scores(x[:200], y[:200], steps=3, seed=seed)
    other = tk.fit_scores(x[:200], y[:200], steps=3, seed=seed)
    for one, two in zip(again.network.parameters(), other.network.parameters(), strict=True):
        assert_exact(one, two)


def test_trained_on_labels_and_alone(seed: int) -> None:
    """Three classes: loss = I + L_u − L_c, growth ≤ I; without conditions the score of the mixture."""
    law = three_classes()
    x, k = law.sample(4000, seed)
    model = tk.fit_scores(x, k, steps=300, width=64, depth=2, process=VP, seed=seed)
    assert model.null == 3
    found = tk.mutual_information(model, None, law, evaluations=32_768, seed=seed)
    errors = [
        tk.neural_entropy(score, law, evaluations=16_384, seed=seed).mismatch for score in (model.unconditional, model)
    ]
    assert errors[0] is not None
    assert errors[1] is not None
    expected = 0.879519 + errors[0].value - errors[1].value
    error = math.hypot(found.loss.stderr, errors[0].stderr, errors[1].stderr)
    assert_z((found.loss.value - expected) / error, 4.0, "loss = I + L_u − L_c")
    assert errors[0].value < 0.3
    assert found.growth is not None
    assert_z(max(0.0, found.growth.z(0.879519)), 4.0, "growth ≤ I")
    assert found.growth.value > 0.5
    alone = tk.fit_scores(x, steps=200, width=64, depth=2, process=VP, seed=seed)
    assert isinstance(alone, tk.ScoreModel)
    t = torch.full((500,), 0.4, dtype=F64)
    points = VP.mean_scale(0.4) * x[:500] + math.sqrt(VP.variance(0.4)) * tk.ops.normals(500, 1, seed=9, dtype=F64)
    exact = law_score_at(law.marginal, points, t, VP)
    assert rms(alone.at(points.float(), t) - exact) < 0.3 * rms(exact)


def test_how_scores_are_trained(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """A noise level from each stratum of λ, a share of absent conditions, no held-out point, a moving average."""
    calls: list[tuple[Tensor, Tensor]] = []
    steps: list[tuple[float, list[Tensor], list[Tensor]]] = []
    forward, follow = tk.models.ConditionalMLP.forward, tk.models.fit._follow

    def spied(self: nn.Module, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            calls.append((t, y))
        return forward(self, x, t, y)

    def followed(average: nn.Module, network: nn.Module, keep: float) -> None:
        steps.append((keep, *([p.detach().clone() for p in each.parameters()] for each in (average, network))))
        follow(average, network, keep)

    monkeypatch.setattr("thermokern.models.conditional_mlp.ConditionalMLP.forward", spied)
    monkeypatch.setattr("thermokern.models.fit._follow", followed)
    x = 2.0 * tk.ops.normals(500, 2, seed=seed, dtype=F64)
    rows = torch.arange(500, dtype=F64)[:, None]  # as conditions, which tell what was trained on
    model = tk.fit_scores(x, rows, steps=25, batch_size=64, null_share=0.25, width=8, depth=1, process=VP, seed=seed)
    held_out = model.network.history.held_out
    assert len(calls) == len(steps) == 25
    given = torch.cat([y[:, 0] for _, y in calls])
    absent = given.isnan()
    assert_z((absent.double().mean().item() - 0.25) / math.sqrt(0.25 * 0.75 / len(absent)), 4.0, "absent conditions")
    assert not torch.isin(given[~absent].long(), held_out).any()
    used = torch.ones(500, dtype=torch.bool).index_fill_(0, held_out, False)
    low, high = VP.log_snr(1.0), VP.log_snr(1e-5)
    ends = torch.tensor([low, high], dtype=F64)

    def share(log_snr: Tensor) -> Tensor:
        """Of the levels below: half even, half logistic about the scale of the data."""
        bump, (first, last) = (
            torch.sigmoid((levels + x[used].var(0).mean().log()) / 2.5) for levels in (log_snr, ends)
        )
        return 0.5 * (log_snr - low) / (high - low) + 0.5 * (bump - first) / (last - first)

    for t, _ in calls:
        place = 64.0 * share(torch.tensor([VP.log_snr(each) for each in t.tolist()], dtype=F64)).sort().values
        assert ((place - torch.arange(64) - 0.5).abs() < 0.55).all()  # of a table of 2049 levels
    average = steps[0][1]
    for k, (keep, _, network) in enumerate(steps, 1):
        assert keep == min(0.999, (1.0 + k) / (10.0 + k))
        average = [keep * one + (1.0 - keep) * other for one, other in zip(average, network, strict=True)]
    for one, other in zip(average, model.network.parameters(), strict=True):
        assert rms(one - other) < 1e-5 * max(rms(one), 1e-3)
    assert rms(other - steps[-1][2][-1]) > 0.0


def test_what_cannot_be_trained_on() -> None:
    x = torch.zeros(20, 2)
    for match, call in {
        "^x: expected": lambda: tk.fit_scores(x[:5]),
        "^x: expected finite": lambda: tk.fit_scores(x + math.nan),
        "^y: expected": lambda: tk.fit_scores(x, torch.zeros(3)),
        "^y: expected labels": lambda: tk.fit_scores(x, torch.full((20,), -1)),
        "^steps: expected": lambda: tk.fit_scores(x, steps=0),
        "^validation: expected": lambda: tk.fit_scores(x, validation=1.0),
        "^t_eps: expected": lambda: tk.fit_scores(x, t_eps=3.0),
    }.items():
        with pytest.raises(ValueError, match=match):
            call()
