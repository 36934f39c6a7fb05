"""`python -m noseprint` runs the command `noseprint`."""

from noseprint.cli import main

main()
