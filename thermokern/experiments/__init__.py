"""The papers' figures and tables, on top of the quantities."""

from thermokern.experiments.image_training import PAPER, PAPER_MNIST, QUICK, ImageProfile, train_unet
from thermokern.experiments.images import DATA, load_images
from thermokern.experiments.mode_collapse import COLLAPSES, PANELS, Collapse, ModeCollapse, mode_collapse
from thermokern.experiments.training import TrainingRecipe
from thermokern.experiments.training_course import TrainingCourse, shipped_course, training_course

__all__ = [
    "COLLAPSES",
    "DATA",
    "PANELS",
    "PAPER",
    "PAPER_MNIST",
    "QUICK",
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
