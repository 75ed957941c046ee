"""What lies below `storage`: locks of folders, temporary folders, and the refusals of a disk."""
