"""Audits of a whole registry: which versions need judging, judging them, and the sum of it."""
