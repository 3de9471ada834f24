import programs_data

ds = programs_data.nested()
x = programs_data.buffers(ds, "down")
print(round(float(x.double().sum()), 2))
