"""Write the reference pages and the JSON schema of docs/ from docstrings, signatures and descriptions of fields."""
