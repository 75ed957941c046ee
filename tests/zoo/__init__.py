"""Detectors that people deploy, built without trained weights."""
