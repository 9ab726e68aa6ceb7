"""Optimizers, parameter groups, schedules and phases."""
