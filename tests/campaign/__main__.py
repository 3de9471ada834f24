"""`python -m tests.campaign`: kills, damaged inputs and states, crowds and full disks; what of it the program bears.

Every trial is drawn from the seed and its own number, so that `--trial kill-17 --seed 0` is the same one again.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork has no threads of its parent, and trials run side by side
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tests.campaign.command import main

if __name__ == "__main__":
    sys.exit(main())
