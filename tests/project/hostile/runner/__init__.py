"""Orders and who runs with them: an app of the stranger with the name of another room."""
