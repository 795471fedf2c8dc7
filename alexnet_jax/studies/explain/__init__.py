"""Why a net says what it says: maps of images, and what excites a unit.

  found = alexnet_jax.explain(net, 'photo.jpg')  # see explained.py
  best = exciting.strongest(net, 'photos', layer='conv5', unit=17)

docs/explain.md shows what comes out, and how to read it.
"""
