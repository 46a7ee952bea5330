"""What the models do on data, as runnable studies: fairtag study NAME."""
