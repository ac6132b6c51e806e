"""`python -m raybench` is the `raybench` command."""

from raybench.cli import main

main()
