"""Words that pages explain where they use them; docs/glossary.md has the longer list."""

# Word, the pattern that finds it in lower-case text, and its meaning in a sentence.
WORDS: dict[str, tuple[str, str]] = {
    "nats": (r"\bnats?\b", "The unit of logarithms to base e: 1 nat is 1.443 bits, a factor of 2.718 in density."),
    "TAEP, Δs": (
        r"taep|δs|time asymmetry",
        "Time-asymmetry entropy production: the log ratio of how probable a path is forward in time under the process "
        "and backward under the model. Its mean bounds how far the model's law is from that of the data.",
    ),
    "reference": (
        r"\breference\b",
        "The score that the model is compared with: exact where it is that of the law from which paths start.",
    ),
    "score": (r"\bscores?\b", "The gradient of the log density, which a diffusion model learns at every noise level."),
    "⟨exp(−Δs)⟩": (
        r"⟨?exp\([−+-](δs|taep|x)\)⟩?",
        "An average that is 1 for an exact reference. Far from 1, or carried by few paths, it says that paths, steps "
        "or overlap do not suffice.",
    ),
    "carried by": (
        r"carried by|carry",
        "An average of exponentials rests on its largest terms: the share of paths that would do as well with equal "
        "weights.",
    ),
    "Pareto shape": (r"pareto", "How heavy the tail of the weights is; above 0.5 an error bar cannot be trusted."),
    "score matching": (
        r"score matching|score-matching",
        "The integral of the squared error of the score along paths; equal to the mean of Δs for an exact reference.",
    ),
    "±": (r"±", "One standard error, of sampling alone unless said otherwise; ± ? where it is not known."),
    "z": (r"\bz = ", "How many standard errors a number lies from what it should be."),
    "forward, reverse": (
        r"forward|reverse",
        "Forward paths take data to noise; reverse paths are those that the model drives from noise to data.",
    ),
    "t_eps": (r"t_eps|t eps", "The first time, just above 0, at which paths begin: below it nothing is measured."),
    "log signal-to-noise ratio": (
        r"signal-to-noise",
        "ln(m²/v) of the noised data m x + √v ε: a clock that is the same for all processes.",
    ),
    "NLL": (r"\bnll\b", "Negative log-likelihood of data under a model, on average; less is better."),
    "ELBO": (r"\belbo\b|variational", "A bound on the log-likelihood of the stochastic sampler."),
    "KL": (r"\bkl\b", "Kullback–Leibler divergence: the mean log ratio of two densities; 0 where they are equal."),
    "entropy": (
        r"entropy",
        "Of a density: minus the mean of its logarithm. It can be negative, and moves with the unit of length.",
    ),
    "mode": (
        r"(?<!forward )(?<!reverse )\bmodes?\b",
        "A component of the reference's mixture. Its due weight is what the reference gives it.",
    ),
    "coverage": (r"coverage", "Share of real points near which some generated point lies."),
    "housekeeping": (r"housekeeping", "The dissipation of a steady current, which it costs not to relax."),
}
