"""`sweep`: many searches from one file."""
