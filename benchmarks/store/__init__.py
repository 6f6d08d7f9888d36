"""The store against a dict, pycrdt, loro, sqlite3 and propagul 0.9.0, in one run: `python -m benchmarks.store`.

Every workload runs in a process of its own, ours and a peer's alike, on the same keys and values from the same seed.
CPU work is measured in process CPU time, durable writes in wall time because waiting for the disk counts; each figure's
detail says which. Rounds are interleaved and ratios paired. A figure counts only if the same run found the content that
it wrote: on both ends of a merge, and in a log opened again.

Workload modules are imported by peers' interpreters too: nothing but the standard library at their top.
"""
