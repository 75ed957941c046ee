"""Region programs as data and as text: operators, parsing, formatting, rules. See export/REGION.md."""
