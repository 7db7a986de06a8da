// The largest distance within the first OWN dimensions, over the columns whose distance in all dimensions is at most
// the limit of the row.
#include "pairs.cu"

struct Reach {
  static const int own = OWN;
  Real *reaches; // of this slot
  const Real *limits;
  Real limit[R], largest[R];

  static INLINE bool keeps(Real limit, Real far) { return far <= limit; }

  INLINE void take_up() {
#pragma unroll
    for (int r = 0; r < R; r++) {
      limit[r] = limits[row_of(r)];
      largest[r] = reaches[row_of(r)];
    }
  }

  INLINE void meet(const Real (&near)[R][4], Index) {
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
      for (int q = 0; q < 4; q++) largest[r] = LARGER(largest[r], near[r][q]);
  }

  INLINE void rest() {}

  INLINE void put_down() {
#pragma unroll
    for (int r = 0; r < R; r++) reaches[row_of(r)] = largest[r];
  }
};

// Reaches (slots, rows) hold zero at first.
KERNEL reach(SPACE_PARAMETERS, const Real *limits, Real *reaches) {
  Reach job;
  job.reaches = reaches + slot() * row_count;
  job.limits = limits;
  sweep<MaxNorm>(SPACE, job);
}

// The largest of all slots: (rows).
KERNEL merge(const Real *reaches, Index slots, Index row_count, Real *out) {
  Index i = (Index)blockIdx.x * THREADS + threadIdx.x;
  Real largest = 0;
  for (Index s = 0; s < slots; s++) largest = LARGER(largest, reaches[s * row_count + i]);
  out[i] = largest;
}
