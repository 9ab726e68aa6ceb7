"""Measurements of hftune beside its peers. `python -m benchmarks` runs the suite."""
