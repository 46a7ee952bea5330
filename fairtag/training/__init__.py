"""Fits everything but the encoder, and writes the model folder."""
