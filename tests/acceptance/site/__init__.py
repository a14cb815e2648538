"""The Django project that the acceptance tests' workers load: one database, one broker, nothing else."""
