"""``python -m thermokern``."""

import sys

from thermokern.cli import main

sys.exit(main())
