"""What is kept of customers: how long, and how it is erased."""
