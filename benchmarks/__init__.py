"""Every speed claim and every study as a command: ``python -m benchmarks NAME`` or ``fairtag study NAME``."""
