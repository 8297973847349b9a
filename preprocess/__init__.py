"""Scenes: the registry, the data layout on disk, and the builder of synthetic scenes."""
