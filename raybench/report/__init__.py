"""The report of a run, from its tables: `write` writes it, the other modules are its sections and its queries."""
