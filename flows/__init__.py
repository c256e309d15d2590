"""Prefect faces of the gate."""
