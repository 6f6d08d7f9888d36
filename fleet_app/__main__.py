"""`python -m fleet_app` is `propagul`."""

import sys

from fleet_app.cli import main

if __name__ == "__main__":
    sys.exit(main())
