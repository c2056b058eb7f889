"""Fitted predictors: frame in, predictions out. They know no HTTP and no training; `load` reads one from a folder."""

from models.load import load as load
