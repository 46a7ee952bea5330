"""The core of Fairtag: mathematics and model."""
