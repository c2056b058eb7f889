"""The ranker as BentoML serves one: run by the rival's own Python, `bentoml serve rival_bento:Ranker`."""

import os

import bentoml
import lightgbm
import numpy as np


@bentoml.service
class Ranker:
    """LightGBM behind one method, everything else at its default."""

    def __init__(self) -> None:
        self.booster = lightgbm.Booster(model_file=os.environ["RANKER_FILE"])

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Probabilities of rows (n, features)."""
        return self.booster.predict(rows)
