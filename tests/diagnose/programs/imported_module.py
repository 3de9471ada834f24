import programs_data

ds = programs_data.nested()
import helper_slow

x = helper_slow.load(ds)
print(round(float(x.double().sum()), 2))
