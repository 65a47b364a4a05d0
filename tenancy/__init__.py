"""The nouns and the decisions of multi-tenancy: pure Python, no I/O, no framework."""
