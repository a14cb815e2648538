"""A Django app of the acceptance tests' project: graphs that ask, that die, and that use the ORM."""
