"""Checkpoints of other projects: read without running anything they hold, and converted to ours."""
