"""The training pipeline, the loop on one machine, and the ``fairtag`` command line."""
