"""Servers of others around the same model, one a module: their packages need the classes where they can import them."""
