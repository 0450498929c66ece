"""`python -m irene.cli`, where the command `irene` is not on the PATH."""

import sys

from irene.cli import main

sys.exit(main())
