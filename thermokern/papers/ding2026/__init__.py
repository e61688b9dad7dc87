"""Ding, Quan and Tu, *Stochastic thermodynamics of score matching in diffusion models*, 2026."""

from thermokern.papers.ding2026.collapses import COLLAPSES, PANELS, Collapse
from thermokern.papers.ding2026.image_training import PAPER, PAPER_MNIST, QUICK, REDUCED, ImageProfile, train_unet
from thermokern.papers.ding2026.images import DATA, load_images
from thermokern.papers.ding2026.mode_collapse import ModeCollapse, mode_collapse
from thermokern.papers.ding2026.training import TrainingRecipe
from thermokern.papers.ding2026.training_course import TrainingCourse, shipped_course, training_course

__all__ = [
    "COLLAPSES",
    "DATA",
    "PANELS",
    "PAPER",
    "PAPER_MNIST",
    "QUICK",
    "REDUCED",
    "Collapse",
    "ImageProfile",
    "ModeCollapse",
    "TrainingCourse",
    "TrainingRecipe",
    "load_images",
    "mode_collapse",
    "shipped_course",
    "train_unet",
    "training_course",
]
