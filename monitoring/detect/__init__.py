"""How a job reads a window of a log and decides whether something changed."""
