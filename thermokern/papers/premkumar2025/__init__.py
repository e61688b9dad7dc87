"""Premkumar, 2025: *Diffusion models are Kelly gamblers*, recomputed with errors, bounds and closed forms."""
