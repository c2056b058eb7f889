"""What happened after a cut: the same labels in training as where promises are held against what came (models)."""

from models.labels import goal_events, label

__all__ = ["goal_events", "label"]
