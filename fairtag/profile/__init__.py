"""What quotes looked like when the model was trained: sums that merge."""
