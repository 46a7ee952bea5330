"""Speed of the drift job, and the simulated quote log that benchmarks, studies and tests share."""
