"""The catalogue: what may be offered, to whom, how often, and at what worth."""
