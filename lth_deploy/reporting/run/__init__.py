"""The part of a report about a run."""
