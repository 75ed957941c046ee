"""Region programs as data and as text: instructions, parsing, formatting, rules. See export/REGION.md."""
