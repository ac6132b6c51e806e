"""`python -m raybench` is the `raybench` command."""

import os
import sys

# Python puts the current folder first; without this, a yaml.py in it would replace the installed module
sys.path[:] = [folder for folder in sys.path if folder and os.path.realpath(folder) != os.getcwd()]

from raybench.supervisor import main  # noqa: E402

main()
