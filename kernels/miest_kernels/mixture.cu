// For each row the largest exponent over the columns, and the sum of exp2(exponent - largest). With PRODUCTS the walk
// gives the exponent itself, else the squared distance.
#include "pairs.cu"

#if PRODUCTS
typedef Product Form;
#else
typedef Difference Form;
#endif

struct Mixture {
  static const int own = 0;
  double *state; // of this slot: (2, rows), the largest and the sum
  Index row_count;
  Real scale;
  Real largest[R], tile[R];
  double sum[R];

  INLINE void take_up() {
#pragma unroll
    for (int r = 0; r < R; r++) {
      largest[r] = (Real)state[row_of(r)];
      sum[r] = state[row_count + row_of(r)];
      tile[r] = 0;
    }
  }

  INLINE void meet(const Real (&values)[R][4], Index) {
#pragma unroll
    for (int r = 0; r < R; r++) {
      Real v[4];
#pragma unroll
      for (int q = 0; q < 4; q++) v[q] = PRODUCTS ? values[r][q] : -values[r][q] * scale;
      Real top = LARGER(LARGER(v[0], v[1]), LARGER(v[2], v[3]));
      if (top > largest[r]) {
        Real factor = EXP2(largest[r] - top);
        sum[r] *= (double)factor;
        tile[r] *= factor;
        largest[r] = top;
      }
      tile[r] += (EXP2(v[0] - largest[r]) + EXP2(v[1] - largest[r])) + (EXP2(v[2] - largest[r]) + EXP2(v[3] - largest[r]));
    }
  }

  INLINE void rest() {
#pragma unroll
    for (int r = 0; r < R; r++) {
      sum[r] += (double)tile[r];
      tile[r] = 0;
    }
  }

  INLINE void put_down() {
#pragma unroll
    for (int r = 0; r < R; r++) {
      state[row_of(r)] = (double)largest[r];
      state[row_count + row_of(r)] = sum[r];
    }
  }
};

// States (slots, 2, rows) hold `lowest` at first, which no exponent is below but minus infinity, and 0.
KERNEL mixture(SPACE_PARAMETERS, double scale, double *states) {
  Mixture job;
  job.state = states + slot() * 2 * row_count;
  job.row_count = row_count;
  job.scale = Real(scale);
  sweep<Form>(SPACE, job);
}

KERNEL begin(double *states, Index slots, Index row_count, double lowest) {
  Index i = (Index)blockIdx.x * THREADS + threadIdx.x;
  for (Index s = 0; s < slots; s++) {
    states[2 * s * row_count + i] = lowest;
    states[(2 * s + 1) * row_count + i] = 0;
  }
}

// Log2 of the sum over all slots: (rows).
KERNEL merge(const double *states, Index slots, Index row_count, double *out) {
  Index i = (Index)blockIdx.x * THREADS + threadIdx.x;
  double largest = states[i], sum = 0;
  for (Index s = 1; s < slots; s++) largest = fmax(largest, states[2 * s * row_count + i]);
  for (Index s = 0; s < slots; s++)
    sum += states[(2 * s + 1) * row_count + i] * exp2(states[2 * s * row_count + i] - largest);
  out[i] = largest + log2(sum);
}
