"""The kinds of trial, one file each, and the table that chooses among them."""
