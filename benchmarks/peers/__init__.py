"""One script per peer; each can be run alone: `python -m benchmarks.peers.plain --help`."""
