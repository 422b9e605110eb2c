import signal
import sys


def terminate(number: int, frame: object) -> None:
    sys.exit(number)


previous = signal.signal(signal.SIGTERM, terminate)
