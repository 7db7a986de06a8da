// Ordered pairs by distance, with each point and itself: how many are below the edge of their key, and how many are not.
// The bits of a positive number order as the numbers do; a key is its bits without the last `shift`, and one edge lies
// within each key (see correlation.py). Numbers beyond the last edge are not counted, nor is a filler, which is NaN.
#include "pairs.cu"

#if REAL_BITS == 32
#define BITS __float_as_int
#else
#define BITS __double_as_longlong
#endif

#if EUCLIDEAN
typedef Square Form;
#else
typedef MaxNorm Form;
#endif

struct Histogram {
  static const int own = 0;
  unsigned *counters;
  const Real *edges;
  int shift, keys;
  Index base;
  Real beyond;

  INLINE void take_up() {}

  INLINE void meet(const Real (&far)[R][4], Index) {
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
      for (int q = 0; q < 4; q++)
        if (far[r][q] < beyond) {
          Index key = ((Index)BITS(far[r][q]) >> shift) - base;
          int place = key < 0 ? 0 : key < keys ? (int)key : keys - 1;
          atomicAdd(counters + 2 * place + (far[r][q] < edges[place] ? 0 : 1), 1u);
        }
  }

  INLINE void rest() {}
  INLINE void put_down() {}
};

// Counts (2 keys) are added to. A block meets fewer than 2^32 pairs.
KERNEL histogram(SPACE_PARAMETERS, const Real *edges, Index keys, Index shift, Index base, double beyond,
                 unsigned long long *counts) {
  __shared__ unsigned counters[2 * MOST_KEYS];
  for (int i = threadIdx.x; i < 2 * (int)keys; i += THREADS) counters[i] = 0;
  __syncthreads();
  Histogram job;
  job.counters = counters;
  job.edges = edges;
  job.shift = (int)shift;
  job.keys = (int)keys;
  job.base = base;
  job.beyond = Real(beyond);
  sweep<Form>(SPACE, job);
  __syncthreads();
  for (int i = threadIdx.x; i < 2 * (int)keys; i += THREADS)
    if (counters[i]) atomicAdd(counts + i, (unsigned long long)counters[i]);
}
