"""Where the run record lives: `hftune.train.run_facts`, so that every sibling may read it."""

from hftune.train.run_facts import RunFacts, read_run

__all__ = ["RunFacts", "read_run"]
