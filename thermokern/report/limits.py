"""What ``thermokern limits --out DIR`` holds: a figure, ``result.json`` and ``report.html``."""

from __future__ import annotations

import json
from pathlib import Path

from thermokern.quantities import Limits
from thermokern.quantities.likelihood.figures import limits_figure, rates_figure
from thermokern.report import html

_MEANING = {
    "data_entropy": "S_data: no law has a smaller NLL",
    "nll_ode": "exact, of the deterministic sampler",
    "nll_plugin": "averages over the data's marginals in the place of the model's flow",
    "nll_lower_bound": "bound on the plug-in NLL (Kodama and Hinczewski, Eq. 6)",
    "elbo": "upper bound on the SDE sampler's NLL",
    "data_entropy_bound": "2 NLL_ODE + ∫Ṡ_θ dt − S(p_T): bounds S_data only where the plug-in NLL is the flow's",
    "data_entropy_bound_plugin": "the same with the plug-in NLL: bounds S_data",
    "kl_ode": "KL(data ‖ deterministic sampler)",
    "kl_upper": "⟨Δs_ta⟩ + KL(p_T‖π): upper bound on KL(data ‖ SDE sampler)",
    "squared_difference": "∫D E|s_θ − s_*|²dt = ⟨Δs_ta⟩",
    "prior_mismatch": "KL(p_T‖π)",
    "noise_entropy": "S(p_T), of the data's law at the last time",
    "below_t_eps": "∫Ṡ_θ dt below the first time, in nothing else here",
}


def write_limits(result: Limits, out: Path, footer: str) -> list[Path]:
    """Figure, numbers and page of one calculation of limits; the files written."""
    picture, s = limits_figure(result), result.settings
    page = html.page(
        "Limits of a score-based model",
        f"{s['n_paths']:,} paths, {s['n_likelihood']:,} likelihoods, {s['process']}, t from {s['t_eps']:.3g}.",
        [
            html.section(
                "Figure",
                html.figure(
                    picture,
                    "Likelihoods and bounds beside the entropy rates",
                    "Left: negative log-likelihoods (blue) and what bounds them (orange), nats, two standard errors; "
                    "dashed the entropy of the data. Right: entropy rates over the log signal-to-noise ratio, time "
                    "running to the right.",
                ),
            ),
            html.section(
                "Estimates",
                html.table(
                    ("", "nats", "what it is"),
                    [(name.replace("_", " "), value, _MEANING[name]) for name, value in result.named().items()],
                ),
            ),
            html.section(
                "Verdicts",
                html.paragraph(
                    "Three likelihoods bear the name: the probability-flow equation's (ODE), the reverse stochastic "
                    "equation's (SDE sampler) and the plug-in one. A bound on one need not hold for another. Tight: "
                    "equal within three standard errors and the error of quadrature."
                ),
                html.table(
                    ("", "statement", "speaks of", "promised", "margin", "why"),
                    [
                        (v.outcome, v.statement, v.likelihood, "yes" if v.promised else "no", v.margin, v.reason)
                        for v in result.verdicts
                    ],
                ),
            ),
            html.section(
                "Entropy rates",
                html.figure(rates_figure(result.rates), "Entropy rates and Stein residual", ""),
                html.preformatted(result.rates.summary()),
            ),
            html.section("Likelihood", html.preformatted(result.likelihood.summary())),
            html.section("Settings", html.preformatted(json.dumps(s, indent=2))),
        ],
        footer,
    )
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "limits.png", out / "result.json", out / "report.html"]
    picture.savefig(paths[0])
    paths[1].write_text(json.dumps(result.to_json(), indent=2, allow_nan=True) + "\n")
    paths[2].write_text(page)
    return paths
