import lora_perf

zoo = lora_perf.load("digits")
features = lora_perf.represent(zoo, ["stats", "matrix_norms"])
print(zoo.rows.shape, features["stats"].values.shape)
