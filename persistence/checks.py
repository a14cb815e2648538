"""System checks of the tables."""
