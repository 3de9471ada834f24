import programs_data

ds = programs_data.nested()
x = ds.with_format("torch")["down"][:]  # FAULT torch formatter
print(round(float(x.double().sum()), 2))
