import torch

torch.manual_seed(0)
x, y = torch.randn(2000, 30), torch.randint(0, 3, (2000,))
model = torch.nn.Sequential(torch.nn.Linear(30, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
optimizer = torch.optim.Adam(model.parameters())
losses = []
for epoch in range(40):
    for at in torch.randperm(len(x)).split(64):
        loss = torch.nn.functional.cross_entropy(model(x[at]), y[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
print(len(losses), torch.tensor(losses[-10:]).mean() < losses[0])
