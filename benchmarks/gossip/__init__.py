"""How gossip spreads, what it costs and what it withstands: `python -m benchmarks.gossip`."""
