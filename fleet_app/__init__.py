"""The fleet: every box that runs models, seen, reached and (later) told what to run.

It reads and writes the replica and owns no truth of its own. Importing this package needs nothing but the standard
library, so that the console script can say which extra is missing.
"""
