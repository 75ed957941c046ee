"""Bringing a model from anywhere into the one normalized form that all passes work on."""
