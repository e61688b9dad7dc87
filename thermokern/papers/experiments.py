"""Every experiment that ``thermokern reproduce`` knows: a new one is a file beside its neighbours and a line here."""

from __future__ import annotations

from thermokern.papers.ding2026.mode_collapse import EXPERIMENT as MODE_COLLAPSE
from thermokern.papers.ding2026.sgd_noise import EXPERIMENT as SGD_NOISE
from thermokern.papers.ding2026.training_course import EXPERIMENT as TRAINING_COURSE
from thermokern.papers.experiment import Experiment
from thermokern.papers.kodama2025.capacity import EXPERIMENT as CAPACITY
from thermokern.papers.kodama2025.limits import EXPERIMENT as LIMITS
from thermokern.papers.kodama2025.penalty import EXPERIMENT as PENALTY
from thermokern.papers.kodama2025.table1 import EXPERIMENT as TABLE1
from thermokern.papers.premkumar2025.autoencoder import EXPERIMENT as KELLY_AUTOENCODER
from thermokern.papers.premkumar2025.bets import EXPERIMENT as KELLY_BETS
from thermokern.papers.premkumar2025.gaussian import EXPERIMENT as KELLY_GAUSSIAN
from thermokern.papers.premkumar2025.guidance import EXPERIMENT as KELLY_GUIDANCE
from thermokern.papers.premkumar2025.images import EXPERIMENT as KELLY_IMAGES
from thermokern.papers.schedules.experiment import EXPERIMENT as SCHEDULES

EXPERIMENTS: tuple[Experiment, ...] = (
    *(MODE_COLLAPSE, TRAINING_COURSE, SGD_NOISE),
    *(LIMITS, CAPACITY, PENALTY, TABLE1),
    *(KELLY_GAUSSIAN, KELLY_GUIDANCE, KELLY_BETS, KELLY_IMAGES, KELLY_AUTOENCODER),
    SCHEDULES,
)
