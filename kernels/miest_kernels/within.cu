// How many columns are nearer to each row than its limit; CLOSED counts those at the limit, too. Oneself is counted.
#include "pairs.cu"

struct Within {
  static const int own = 0;
  unsigned *counts; // of this slot
  const Real *limits;
  Real limit[R];
  Tally tile[R]; // exact, since a tile is small
  unsigned count[R];

  INLINE void take_up() {
#pragma unroll
    for (int r = 0; r < R; r++) {
      limit[r] = limits[row_of(r)];
      tile[r] = 0;
      count[r] = 0;
    }
  }

  INLINE void meet(const Real (&far)[R][4], Index) {
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
      for (int q = 0; q < 4; q++)
        tile[r] += (CLOSED ? far[r][q] <= limit[r] : far[r][q] < limit[r]) ? Tally(1) : Tally(0);
  }

  INLINE void rest() {
#pragma unroll
    for (int r = 0; r < R; r++) {
      count[r] += (unsigned)tile[r];
      tile[r] = 0;
    }
  }

  INLINE void put_down() {
#pragma unroll
    for (int r = 0; r < R; r++) counts[row_of(r)] += count[r];
  }
};

// Counts (sets, slots, rows) are added to; limits are (sets, rows).
KERNEL within(SPACE_PARAMETERS, const Real *limits, unsigned *counts) {
  Within job;
  job.counts = counts + slot() * row_count;
  job.limits = limits + blockIdx.z * row_count;
  sweep<MaxNorm>(SPACE, job);
}

// Counts of all slots: (sets, rows).
KERNEL merge(const unsigned *counts, Index slots, Index row_count, unsigned *out) {
  Index i = (Index)blockIdx.x * THREADS + threadIdx.x;
  unsigned sum = 0;
  for (Index s = 0; s < slots; s++) sum += counts[(blockIdx.z * slots + s) * row_count + i];
  out[blockIdx.z * row_count + i] = sum;
}
