"""`analyze`: where a ticket gains and loses beside its dense control."""
