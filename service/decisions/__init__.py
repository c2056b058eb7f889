"""Decisions: which offer, on which channel, when, for whom; explained, recorded, and replayable."""
