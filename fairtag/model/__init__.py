"""A trained model from its tables to one verified folder, and the decision about it."""
