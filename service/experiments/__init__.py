"""Experiments: who gets which variant, who was exposed, and what it changed, as flags and as statistics."""
