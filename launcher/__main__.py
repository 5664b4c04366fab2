"""`python -m launcher`: the same as `sf-launch`."""

from launcher.cli import main

main()
