"""A seeded world of customers whose true response is known: try policies on it, or drive the service with it."""

from training.world.catalogue import CATEGORIES, CHANNELS, WorldOffer, default_offers
from training.world.world import Action, Best, World

__all__ = ["CATEGORIES", "CHANNELS", "Action", "Best", "World", "WorldOffer", "default_offers"]
