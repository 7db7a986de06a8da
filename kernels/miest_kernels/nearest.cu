// The k smallest distances of each row. KEEP is how many are kept, oneself among them: it is at distance zero, which
// none is below, so the k-th smallest of the others is the (k + 1)-th of all.
#include "pairs.cu"

#if KEEP > 0 // sorted lists in registers

struct Nearest {
  static const int own = 0;
  Real *lists; // of this slot
  Real list[R][KEEP];

  INLINE void take_up() {
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
      for (int s = 0; s < KEEP; s++) list[r][s] = lists[row_of(r) * KEEP + s];
  }

  INLINE void meet(const Real (&far)[R][4], Index) {
    Real best[R]; // of the four: one minimum in place of a comparison each
    bool any = false;
#pragma unroll
    for (int r = 0; r < R; r++) {
      best[r] = SMALLER(SMALLER(far[r][0], far[r][1]), SMALLER(far[r][2], far[r][3]));
      any |= best[r] < list[r][KEEP - 1];
    }
    if (any) {
#pragma unroll
      for (int r = 0; r < R; r++)
        if (best[r] < list[r][KEEP - 1]) {
#pragma unroll
          for (int q = 0; q < 4; q++)
            if (far[r][q] < list[r][KEEP - 1]) insert(list[r], far[r][q]);
        }
    }
  }

  INLINE void rest() {}

  INLINE void put_down() {
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
      for (int s = 0; s < KEEP; s++) lists[row_of(r) * KEEP + s] = list[r][s];
  }

  static INLINE void insert(Real (&sorted)[KEEP], Real value) {
#pragma unroll
    for (int s = KEEP - 1; s > 0; s--) sorted[s] = SMALLER(sorted[s], LARGER(sorted[s - 1], value));
    sorted[0] = SMALLER(sorted[0], value);
  }
};

// Lists (sets, slots, rows, KEEP) hold infinity at first.
KERNEL nearest(SPACE_PARAMETERS, Real *lists) {
  Nearest job;
  job.lists = lists + slot() * row_count * KEEP;
  sweep<MaxNorm>(SPACE, job);
}

// The last of the KEEP smallest in all slots of a row: radius (sets, rows).
KERNEL merge(const Real *lists, Index slots, Index row_count, Real *radius) {
  Index row = (Index)blockIdx.x * THREADS + threadIdx.x;
  const Real *list = lists + (blockIdx.z * slots * row_count + row) * KEEP;
  Real best[KEEP];
#pragma unroll
  for (int s = 0; s < KEEP; s++) best[s] = list[s];
  for (Index i = 1; i < slots; i++) {
    list += row_count * KEEP;
    for (int s = 0; s < KEEP; s++)
      if (list[s] < best[KEEP - 1]) Nearest::insert(best, list[s]);
  }
  radius[blockIdx.z * row_count + row] = best[KEEP - 1];
}

#else // a heap for each row in global memory, the largest first; few of the distances get as far as that

struct NearestOfMany {
  static const int own = 0;
  Real *heaps; // of this slot
  Index keep, stride;
  Real worst[R];

  INLINE void take_up() {
#pragma unroll
    for (int r = 0; r < R; r++) worst[r] = heaps[row_of(r)];
  }

  INLINE void meet(const Real (&far)[R][4], Index) {
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
      for (int q = 0; q < 4; q++)
        if (far[r][q] < worst[r]) {
          replace_first(heaps + row_of(r), far[r][q]);
          worst[r] = heaps[row_of(r)];
        }
  }

  INLINE void rest() {}
  INLINE void put_down() {}

  INLINE void replace_first(Real *heap, Real value) const {
    Index at = 0;
    for (Index child = 1; child < keep; child = 2 * at + 1) {
      Real larger = heap[child * stride];
      if (child + 1 < keep && heap[(child + 1) * stride] > larger) larger = heap[++child * stride];
      if (!(larger > value)) break;
      heap[at * stride] = larger;
      at = child;
    }
    heap[at * stride] = value;
  }
};

// Heaps (slots, keep, rows) hold infinity at first. With one slot the first of each is the radius.
KERNEL nearest(SPACE_PARAMETERS, Real *heaps, Index keep) {
  NearestOfMany job;
  job.heaps = heaps + slot() * keep * row_count;
  job.keep = keep;
  job.stride = row_count;
  sweep<MaxNorm>(SPACE, job);
}

#endif
