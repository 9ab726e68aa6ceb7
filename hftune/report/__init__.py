"""Plots and pages about finished and running runs."""
