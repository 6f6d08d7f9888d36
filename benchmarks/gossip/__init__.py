"""How gossip spreads, what it costs and what it withstands: `python -m benchmarks.gossip`.

What thousands of nodes do is measured in virtual time (`crowd`): the shipped node, replica and codec, and a network
that is a function of the seed. Everything else runs real stores over loopback TCP with mutual TLS, and bytes are
counted by a relay between them (`relay`), with every header of every TLS record and of every frame. A figure counts
only if the same run found at the receivers what was written.

What `change` imports is imported by 0.9.0's interpreter too: nothing but the standard library at its top.
"""
