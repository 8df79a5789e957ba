"""What the library does because compilers do not do it yet; each file goes when they do.

- `native`: on CPUs the steps of a run become one function instead of some seventy kernels a step. It works with
  jaxlib 0.10, whose emitters can nest loops, and goes with the last supported version that has them.
- `jaxpr`: what a traced program contains: calls that `native` cannot take, and batched factorisations, of which several
  CPU devices must not run two at once (jaxlib 0.10 deadlocks). It goes with `native`, once that is mended.
- `reduce`: sums as products with ones, maxima in folds: one vectorised kernel each. It goes when XLA's CPU backend
  vectorises reductions, and its GPU backend keeps float32 products at their precision by default.
- `random`: threefry written out, which fuses with its consumers. `fold_in` and `uniform` go when `jax.random` fuses on
  CPUs; `key` and `pinned` stay, as they pin the stream of a seed.
"""
