"""The command line as `python -m wildcast.cli`, where its own program is not on the path."""

from wildcast.cli import main

if __name__ == "__main__":
    main()
