"""The papers' figures and tables, on top of the quantities."""

from thermokern.experiments.capacity import CapacitySweep, capacity_sweep, read_capacity, shipped_capacity
from thermokern.experiments.image_training import PAPER, PAPER_MNIST, QUICK, ImageProfile, train_unet
from thermokern.experiments.images import DATA, load_images
from thermokern.experiments.limits import LimitsSweep, limits_sweep, shipped_limits
from thermokern.experiments.mode_collapse import COLLAPSES, PANELS, Collapse, ModeCollapse, mode_collapse
from thermokern.experiments.penalty import PENALTY_PROFILES, PenaltySweep, penalty_sweep, shipped_penalty
from thermokern.experiments.sweep import PROFILES, Profile, Run
from thermokern.experiments.table1 import Table1, table1
from thermokern.experiments.training import TrainingRecipe
from thermokern.experiments.training_course import TrainingCourse, shipped_course, training_course

__all__ = [
    "COLLAPSES",
    "DATA",
    "PANELS",
    "PAPER",
    "PAPER_MNIST",
    "PENALTY_PROFILES",
    "PROFILES",
    "QUICK",
    "CapacitySweep",
    "Collapse",
    "ImageProfile",
    "LimitsSweep",
    "ModeCollapse",
    "PenaltySweep",
    "Profile",
    "Run",
    "Table1",
    "TrainingCourse",
    "TrainingRecipe",
    "capacity_sweep",
    "limits_sweep",
    "load_images",
    "mode_collapse",
    "penalty_sweep",
    "read_capacity",
    "shipped_capacity",
    "shipped_course",
    "shipped_limits",
    "shipped_penalty",
    "table1",
    "train_unet",
    "training_course",
]
