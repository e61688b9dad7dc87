"""Information of what does not fit together: labels, conditions and points that are none of a score's are told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers_cases import unet
from information_cases import case_b, three_classes
from tolerances import assert_exact

import thermokern as tk

VP = tk.VP()
QUICK = {"evaluations": 64, "ends": False}
HARDLY = {"steps": 2, "width": 8, "depth": 1, "process": VP}


def test_labels_that_a_law_does_not_have() -> None:
    """They had scores of memory that nothing was written to."""
    law = three_classes()
    x, k = law.sample(80, 1)
    for wrong, got in ((k + 1, 3), (k - 1, -1)):
        match = f"^y: expected labels of 0 … 2, got {got}"
        for call in (
            lambda y: tk.mutual_information(law, None, x, y, VP, **QUICK),
            lambda y: tk.pointwise_mutual_information(law, None, x, y, VP, evaluations=8),
            lambda y: tk.pointwise_mutual_information(law, None, x, candidates=y.unique(), process=VP, evaluations=8),
            lambda y: tk.neural_entropy(law, x, VP, condition=y, **QUICK),
            lambda y: law.score_at(x, torch.full((80,), 0.5, dtype=torch.float64), y, VP),
        ):
            with pytest.raises(ValueError, match=match):
                call(wrong)
    with pytest.raises(ValueError, match=r"^y: expected labels, integers \(n,\), got \(80, 1\) float64"):
        tk.mutual_information(law, None, x, k.double(), VP, **QUICK)


def test_conditions_that_a_network_was_not_trained_with() -> None:
    law, pairs = three_classes(), case_b()
    (x, k), (points, y) = law.sample(80, 1), pairs.sample(80, 1)
    labelled, numbered = tk.fit_scores(x, k, **HARDLY), tk.fit_scores(points, y, **HARDLY)
    line = tk.fit_scores(points, y[:, 0], **HARDLY)
    of_labels = "^y: expected labels of 0 … 3, of which the last stands for none, got "
    for match, model, given in (
        (of_labels + "4", labelled, (x, k + 2)),
        (of_labels + "-1", labelled, (x, k - 1)),
        ("^y: 3 is the model's null condition", labelled, (x, torch.full((80,), 3))),
        ("^y: expected labels, integers", labelled, (x, k.double())),
        (r"^y: expected numbers \(n, 2\) as in training, got \(80, 1\)", numbered, (points, y[:, :1])),
        (r"^y: expected numbers \(n, 2\) as in training, got \(80,\) int64", numbered, (points, k)),
        (r"^y: expected numbers \(n, 1\) as in training, got \(80,\) int64", line, (points, k)),
        (r"^x, conditional: expected points of one shape, got \(n, 2\) and \(n, 3\)", numbered, (points[:, :2], y)),
    ):
        with pytest.raises(ValueError, match=match):
            tk.mutual_information(model, None, *given, **QUICK)
        with pytest.raises(ValueError, match=match):
            tk.pointwise_mutual_information(model, None, *given, evaluations=8)
    with pytest.raises(ValueError, match=r"^y: expected numbers \(n, 2\)"):
        tk.pointwise_mutual_information(numbered, None, points, candidates=y[:4, :1], evaluations=8)
    with pytest.raises(ValueError, match=of_labels + "7"):
        labelled.given(7)
    with pytest.raises(ValueError, match=of_labels + "4"):
        tk.neural_entropy(labelled, x, condition=k + 2, **QUICK)
    assert_exact(line.given(0.5)(points, 0.3), line.given(torch.tensor([0.5]))(points, 0.3), "a number is a condition")


@pytest.mark.filterwarnings("ignore::thermokern.FewEvaluationsWarning")
def test_labels_that_a_library_s_network_has_no_place_for() -> None:
    diffusers = pytest.importorskip("diffusers", reason="NOT RUN: the extra 'diffusers' is not installed")
    model = tk.from_diffusers(unet(num_class_embeds=4), diffusers.DDPMScheduler(), condition="class_labels", null=3)
    x = torch.zeros(3, 1, 8, 8)
    with pytest.raises(ValueError, match="^y: expected labels of 0 … 3, got 4"):
        tk.mutual_information(model, None, x, torch.tensor([0, 4, 1]), **QUICK)
    with pytest.raises(ValueError, match=r"^x, conditional: expected points .* \(n, 64\) and \(n, 1, 8, 8\)"):
        tk.mutual_information(model, None, x.flatten(1), torch.tensor([0, 2, 1]), **QUICK)
    larger = tk.mutual_information(model, None, torch.zeros(2, 1, 16, 16), torch.tensor([0, 1]), growth=False, **QUICK)
    assert larger.settings["data"]["points"] == [2, 1, 16, 16]


def test_scores_in_each_other_s_place() -> None:
    law, labelled = case_b(), three_classes()
    x, y = law.sample(80, 1)
    misplaced: tuple[Any, Any] = labelled, VP
    for call in (tk.mutual_information, tk.pointwise_mutual_information):
        with pytest.raises(TypeError, match="^unconditional: expected a score without a condition, got JointGaussian"):
            call(law, law, x, y, VP)
    with pytest.raises(TypeError, match="^model: expected a score without a condition, got Labelled; .*given"):
        tk.total_correlation(misplaced[0], data=x, process=VP)
    with pytest.raises(TypeError, match="^x: expected a law or points .*, got VP"):
        tk.mutual_information(law, None, misplaced[1])
    for score in (law.x, tk.ScoreModel(lambda x, t: -x, VP, shape=(3,))):
        with pytest.raises(ValueError, match=r"^data, model: expected points of one shape, got \(n, 2\) and \(n, 3\)"):
            tk.neural_entropy(score, x[:, :2], VP, **QUICK)
        with pytest.raises(ValueError, match="^data, model: expected points of one shape"):
            tk.total_correlation(score, [law.x], x[:, :2], VP, **QUICK)
    with pytest.raises(ValueError, match="^x, unconditional: expected points of one shape"):
        tk.mutual_information(law, tk.Gaussian([0.0, 0.0], 1.0), process=VP, **QUICK)
    free = tk.ConditionalModel(lambda x, t, y: -x, VP, null=0.0)
    with pytest.raises(ValueError, match=r"^y, null: expected one condition's shape, got \(2,\) and \(\)"):
        tk.mutual_information(free, None, x, y, **QUICK)
    told = tk.ConditionalModel(lambda x, t, y: -x, VP, null=torch.zeros(5, 6))
    for wrong, shape in ((torch.zeros(80, 5, 3), r"\(5, 3\)"), (torch.zeros(80, dtype=torch.int64), r"\(\)")):
        with pytest.raises(ValueError, match=rf"^y, null: .* got {shape} and \(5, 6\)"):
            tk.mutual_information(told, None, x, wrong, **QUICK)
