"""The process that trains one run after another for `runs.engines`: `python -m mtlser.runs.worker`."""

from mtlser.runs.engines import work

if __name__ == "__main__":
    work()
