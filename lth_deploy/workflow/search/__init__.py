"""`find-ticket`: one resumable search."""
