"""Python runs this before everything else where its folder is on the path: a process that is to be ended at one of its events.

Such a process is started by nothing but `python -m`, since the program looks at how it was started.
"""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "moments.py"))["begin"]()
