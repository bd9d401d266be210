"""What trains a model: parameters, optimizers, schedules, sensors, checkpoints and the epoch loop."""
