"""Work on several processes and machines, through Dask.

Comes in: an address of a scheduler, a function that finds and leaves what it works on in files, and what to call it with.
Goes out: what each call returned, as it ends; calls of a worker that dies are made again elsewhere.
Import from here: `outcomes` for any calls, `over_rows` for parts of a zoo, `shared`, `refuse_scheduler`. Tasks are sent
paths, names and ranges; weights only where a zoo has them in memory.
"""

from lora_perf.distributed.tasks import Shared as Shared
from lora_perf.distributed.tasks import outcomes as outcomes
from lora_perf.distributed.tasks import over_rows as over_rows
from lora_perf.distributed.tasks import refuse_scheduler as refuse_scheduler
from lora_perf.distributed.tasks import row_blocks as row_blocks
from lora_perf.distributed.tasks import shared as shared
