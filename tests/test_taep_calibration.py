"""Are the errors of a TAEP true? 300 seeds of small ensembles of each law; the figures are in docs/steps.md."""

from __future__ import annotations

from pathlib import Path

import pytest

LAWS = (
    "ring, std 0.25, a rare mode",
    "ring, std 0.05",
    "narrow modes, d = 8",
    "narrow modes, d = 64",
    "Swiss roll",
    "box",
    "Gaussian, std 3",
    "Gaussian, std 0.25",
)
HEAVY = 0.4  # of the Pareto shape, from which variance and exponential average are not held to their errors


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("law", LAWS)
def test_errors_are_calibrated(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores (estimate − truth)/√(sampling² + step²) have mean 0 within 0.3 and standard deviation 1 within 0.15."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    from calibration_taep import CASES, calibrate, line  # type: ignore[import-not-found]

    assert set(CASES) == set(LAWS)
    found = calibrate(CASES[law], 300)
    print(line(law, found))
    held = found if found["mean"]["pareto_shape"] < HEAVY else {"mean": found["mean"]}
    for name, row in held.items():
        assert abs(row["z_mean"]) < 0.3, (name, row)
        assert 0.85 < row["z_sd"] < 1.15, (name, row)
