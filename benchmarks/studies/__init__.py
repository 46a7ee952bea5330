"""What the models do on data, simulated and real: ``fairtag study NAME``."""
