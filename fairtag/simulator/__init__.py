"""A simulated shop with planted, recoverable demand."""
