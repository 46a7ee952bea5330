"""What people and machines read of the jobs: the HTML report, alerts, Prometheus metrics and rules, Evidently."""
