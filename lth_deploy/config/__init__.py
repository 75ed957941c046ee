"""The YAML files that users write, as checked data: recipes, sweeps and export targets."""
