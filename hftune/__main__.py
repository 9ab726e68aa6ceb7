"""`python -m hftune ...`; also what `accelerate launch -m hftune ...` runs on every process."""

from hftune.cli.main import run

if __name__ == "__main__":
    run()
