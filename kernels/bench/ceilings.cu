// How fast a device is at what the kernels are made of, in registers: a coordinate of a max-norm distance, a
// multiply-add, an exponential. CHAINS of each, so that none waits for the one before; `out` keeps the compiler honest.
#include "pairs.cu"

#define CHAINS 16

template <class Step> INLINE void chains(Index rounds, Real seed, Real *out, Step step) {
  Real value[CHAINS];
#pragma unroll
  for (int c = 0; c < CHAINS; c++) value[c] = seed * Real(threadIdx.x + c + 1);
  Real x = seed;
  for (Index round = 0; round < rounds; round++) {
#pragma unroll
    for (int repeat = 0; repeat < 4; repeat++) {
#pragma unroll
      for (int c = 0; c < CHAINS; c++) value[c] = step(value[c], x, seed * Real(c));
      x += seed;
    }
  }
  Real sum = 0;
#pragma unroll
  for (int c = 0; c < CHAINS; c++) sum += value[c];
  out[(Index)blockIdx.x * THREADS + threadIdx.x] = sum;
}

KERNEL coordinates(Index rounds, double seed, Real *out) {
  chains(rounds, Real(seed), out, [](Real far, Real x, Real y) { return LARGER(far, ABS(x - y)); });
}

KERNEL multiply_adds(Index rounds, double seed, Real *out) {
  chains(rounds, Real(seed), out, [](Real sum, Real x, Real y) { return FMA(sum, y, x); });
}

KERNEL exponentials(Index rounds, double seed, Real *out) {
  chains(rounds, Real(seed), out, [](Real value, Real, Real) { return EXP2(-value); });
}
