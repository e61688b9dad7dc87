"""The papers' figures and tables, one folder each, on top of the quantities."""
