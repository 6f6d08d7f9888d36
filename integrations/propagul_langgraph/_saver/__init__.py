"""Threads as rows: from checkpoints down to content, and what removes them. `checkpoints` is the way in."""
