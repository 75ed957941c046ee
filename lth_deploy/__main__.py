"""`python -m lth_deploy`: the command line, where its script is not on the PATH."""

from lth_deploy.cli import main

main()
