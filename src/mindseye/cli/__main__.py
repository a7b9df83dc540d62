"""`python -m mindseye.cli`, as accelerate launches it."""

from mindseye.cli import main

main()
