import hashlib
import pickle

keys = set()
for seed in range(1500):
    keys.add(hashlib.sha256(pickle.dumps({"rate": 0.1, "seed": seed, "name": "mlp"})).hexdigest())
losses = {seed: [1 / (step + seed + 1) for step in range(500)] for seed in range(20)}
print(len(keys), len(pickle.loads(pickle.dumps(losses))))
