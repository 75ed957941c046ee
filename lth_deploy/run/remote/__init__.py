"""Runs on object stores and other remote places: worked on in a local folder, and copied file by file."""
