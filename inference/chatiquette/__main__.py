"""Makes ``python -m chatiquette`` the command line."""

from .cli import main

main(prog_name="chatiquette")
