"""Pipelines that learn the models from tables and register them in MLflow. Never imports `service`."""

from training.openmp import lend_openmp

lend_openmp()
