import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

rng = np.random.default_rng(0)
x, y = rng.standard_normal((500, 60)).astype(np.float32), rng.integers(0, 2, 500)
x[:, 0] += y
reduced = PCA(10, random_state=0).fit_transform(x)
model = LogisticRegression().fit(reduced[:400], y[:400])
print(model.score(reduced[400:], y[400:]) > 0.5, np.concatenate([x, x]).shape)
