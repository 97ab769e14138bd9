"""`python -m tinycompress`."""

from tinycompress.cli import main

if __name__ == "__main__":
    main()
