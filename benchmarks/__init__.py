"""What this library costs and how fast it is; see README.md."""
