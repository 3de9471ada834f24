import io

import numpy as np

data = np.random.default_rng(0).standard_normal((1500, 80))
kept = io.BytesIO()
np.save(kept, data)
kept.seek(0)
print(round(float(np.load(kept).sum()), 2))
