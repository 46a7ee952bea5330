"""What people and machines read of a job: the report page, alerts, metrics, Evidently."""
