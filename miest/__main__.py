"""``python -m miest`` is the command ``miest``."""

from miest.cli import main

if __name__ == "__main__":
    main(prog_name="miest")
