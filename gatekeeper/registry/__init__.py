"""Registries: where an organisation keeps its models, behind one interface."""
