words = ["the", "house", "that", "jack", "built"]
print(sorted(words), sum(len(word) for word in words))
