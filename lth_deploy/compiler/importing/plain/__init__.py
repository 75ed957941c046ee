"""Rewriting exporters' graphs to one plain form: constants computed, per-channel operators folded into layers."""
