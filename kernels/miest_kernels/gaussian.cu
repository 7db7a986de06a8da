// For each row the sum over the columns of exp2(exponent of the pair), and with PAIRED of its fourth power, which is the
// kernel of a quarter of the variance. LABELLED sums over the columns of the row's own class only. With PRODUCTS the
// walk gives the exponent itself, else the squared distance.
#define UNROLLED (PRODUCTS ? 2 : 1)
#include "pairs.cu"

#if PRODUCTS
typedef Product Form;
#else
typedef Difference Form;
#endif

INLINE Real power(Real value, Real scale) { return EXP2(PRODUCTS ? SMALLER(value, Real(0)) : -value * scale); }

struct Sums {
  static const int own = 0;
  double *sums; // of this slot: (1 + PAIRED, rows)
  Index row_count;
  Real scale;
  const int *row_class, *column_class;
  int mine[R];
  Real tile[R][1 + PAIRED]; // of a tile, which is short enough for the dtype
  double sum[R][1 + PAIRED];

  INLINE void take_up() {
#pragma unroll
    for (int r = 0; r < R; r++) {
      if (LABELLED) mine[r] = row_class[row_of(r)];
#pragma unroll
      for (int p = 0; p <= PAIRED; p++) tile[r][p] = sum[r][p] = 0;
    }
  }

  INLINE void meet(const Real (&values)[R][4], Index column) {
    int theirs[4];
#pragma unroll
    for (int q = 0; q < 4; q++) theirs[q] = LABELLED ? column_class[column + q] : 0;
#pragma unroll
    for (int r = 0; r < R; r++) {
      Real e[4];
#pragma unroll
      for (int q = 0; q < 4; q++) {
        e[q] = power(values[r][q], scale);
        if (LABELLED) e[q] = theirs[q] == mine[r] ? e[q] : Real(0);
      }
      tile[r][0] += (e[0] + e[1]) + (e[2] + e[3]);
      if (PAIRED) {
#pragma unroll
        for (int q = 0; q < 4; q++) e[q] *= e[q];
        tile[r][PAIRED] += FMA(e[0], e[0], e[1] * e[1]) + FMA(e[2], e[2], e[3] * e[3]);
      }
    }
  }

  INLINE void rest() {
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
      for (int p = 0; p <= PAIRED; p++) {
        sum[r][p] += (double)tile[r][p];
        tile[r][p] = 0;
      }
  }

  INLINE void put_down() {
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
      for (int p = 0; p <= PAIRED; p++) sums[p * row_count + row_of(r)] += sum[r][p];
  }
};

// Sums (slots, 1 + PAIRED, rows) are added to.
KERNEL gaussian(SPACE_PARAMETERS, double scale, const int *row_class, const int *column_class, double *sums) {
  Sums job;
  job.sums = sums + slot() * (1 + PAIRED) * row_count;
  job.row_count = row_count;
  job.scale = Real(scale);
  job.row_class = row_class;
  job.column_class = column_class;
  sweep<Form>(SPACE, job);
}

// A product does not give exactly 1 for a point and itself: put 1 in place of what the walk has met, known to the bit.
KERNEL oneself(const Real *rows, Index row_stride, Index row_count, Index dims, double scale, double *sums) {
  Index i = (Index)blockIdx.x * THREADS + threadIdx.x;
  Real value = Form::start(rows[i], rows[i]);
  for (Index e = 1; e < dims; e++) value = Form::step(value, rows[e * row_stride + i], rows[e * row_stride + i]);
  Real own = power(value, Real(scale)), square = own * own;
  sums[i] += 1.0 - (double)own;
  if (PAIRED) sums[row_count + i] += 1.0 - (double)(square * square);
}

// Sums of all slots: (1 + PAIRED, rows).
KERNEL merge(const double *sums, Index slots, Index row_count, double *out) {
  Index i = (Index)blockIdx.x * THREADS + threadIdx.x;
  for (int p = 0; p <= PAIRED; p++) {
    double sum = 0;
    for (Index s = 0; s < slots; s++) sum += sums[(s * (1 + PAIRED) + p) * row_count + i];
    out[p * row_count + i] = sum;
  }
}
