"""Write every generated file of docs/: `python -m raybench.docgen [docs]`."""

import sys

from raybench.docgen.pages import main

main(*sys.argv[1:2])
