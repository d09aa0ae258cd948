"""The checks of `predictd doctor` besides isolation: this machine, and the deployment on it."""
