"""Pipelines that learn the models from tables and register them in MLflow. Never imports `service`."""
