"""Write the generated reference pages of docs/ from docstrings, signatures and specs."""
