"""Likelihoods, the entropy rates that limit them, and the bounds between them."""

from thermokern.quantities.likelihood.elbo import Elbo, elbo
from thermokern.quantities.likelihood.limits import limits
from thermokern.quantities.likelihood.limits_result import Limits
from thermokern.quantities.likelihood.log_likelihood import log_likelihood
from thermokern.quantities.likelihood.patience import SlowFlowWarning
from thermokern.quantities.likelihood.rates import entropy_rates
from thermokern.quantities.likelihood.rates_result import EntropyRate, EntropyRates
from thermokern.quantities.likelihood.result import LogLikelihood
from thermokern.quantities.likelihood.verdicts import Verdict

__all__ = [
    "Elbo",
    "EntropyRate",
    "EntropyRates",
    "Limits",
    "LogLikelihood",
    "SlowFlowWarning",
    "Verdict",
    "elbo",
    "entropy_rates",
    "limits",
    "log_likelihood",
]
