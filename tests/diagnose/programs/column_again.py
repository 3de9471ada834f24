import programs_data

ds = programs_data.flat(6000)
total = 0
for epoch in range(5):
    labels = ds["label"][:]  # FAULT read again
    total += sum(labels)
print(total)
