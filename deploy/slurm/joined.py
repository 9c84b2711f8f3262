"""Wait until a Ray cluster has so many nodes: `joined.py HEAD:PORT COUNT SECONDS`; 1 if it has not by then."""

from __future__ import annotations

import logging
import sys
import time

import ray


def main() -> int:
    address, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if not ray.is_initialized():
                ray.init(address, logging_level=logging.CRITICAL, log_to_driver=False, configure_logging=False)
            if sum(node["Alive"] for node in ray.nodes()) >= count:
                return 0
        except (ConnectionError, RuntimeError, ValueError, OSError):
            # The head is not up yet; what it says about itself is in its own log.
            ray.shutdown()
        time.sleep(0.5)
    return 1


if __name__ == "__main__":
    sys.exit(main())
