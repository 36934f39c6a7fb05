"""`python -m noseprint` is the command `noseprint`."""

from noseprint.cli import main

main()
