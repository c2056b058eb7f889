"""Saves the ranker as MLflow keeps one, with its signature: run by the rival's own Python, RANKER.txt FOLDER."""

import sys

import lightgbm
import pandas as pd

import mlflow

booster = lightgbm.Booster(model_file=sys.argv[1])
columns = booster.feature_name()
frame = pd.DataFrame([[0.5] * len(columns)], columns=columns)
signature = mlflow.models.infer_signature(frame, booster.predict(frame))
mlflow.lightgbm.save_model(booster, sys.argv[2], signature=signature)
