"""Backbones, their heads, weights in and out, and the map of their layers."""
