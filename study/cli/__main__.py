"""`python -m study.cli` is `neglora`."""

import sys

from study.cli import main

sys.exit(main())
