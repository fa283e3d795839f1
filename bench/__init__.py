"""Measurements of our own system, each printed with its conditions: `router bench` runs them."""
