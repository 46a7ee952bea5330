"""How a job reads a window of quotes and decides that something changed."""
