"""Runs the command line as `python -m kubedr_server`."""

from kubedr_server.cli import main

if __name__ == "__main__":
    main()
