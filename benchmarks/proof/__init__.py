"""The long proof that guard and budgets find what they should. Nothing that runs every day needs it; see guard/README.md."""
