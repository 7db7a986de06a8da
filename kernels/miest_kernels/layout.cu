// Points as the caller has them, (n, d) with any steps, into the layout that `pairs.cu` walks over; and what is known of
// them as a whole. A thread takes a row, or a column, of the caller's.
#include "pairs.cu"

#define COLUMNS_AT_ONCE 16 // of a row, by one thread: a cache line

// Row `order[i]` of the caller's, or row i, becomes point i of set blockIdx.z; points beyond `count` get the filler.
KERNEL pack(const Real *from, Index row_step, Index column_step, Index columns, const Index *order, Index count,
            double filler, Real *to, Index stride, Index set) {
  Index i = (Index)blockIdx.x * THREADS + threadIdx.x;
  if (i >= stride) return;
  Index row = order && i < count ? order[blockIdx.z * count + i] : i;
  Index first = (Index)blockIdx.y * COLUMNS_AT_ONCE;
  Index last = first + COLUMNS_AT_ONCE < columns ? first + COLUMNS_AT_ONCE : columns;
  for (Index c = first; c < last; c++)
    to[blockIdx.z * set + c * stride + i] = i < count ? from[row * row_step + c * column_step] : Real(filler);
}

// The same for Gaussian kernels: (x - centre) * unit, with fillers infinitely far away, where a kernel is zero. With
// `halves` the first dimension is minus half the square of each point, and a filler is 0 in the others.
KERNEL pack_scaled(const Real *from, Index row_step, Index column_step, Index columns, const Index *order, Index count,
                   const double *centre, double unit, Index halves, double infinity, Real *to, Index stride) {
  Index i = (Index)blockIdx.x * THREADS + threadIdx.x;
  if (i >= stride) return;
  Index row = order && i < count ? order[i] : i;
  double square = 0;
  for (Index c = 0; c < columns; c++) {
    Real x = halves ? Real(0) : Real(infinity);
    if (i < count) x = Real(((double)from[row * row_step + c * column_step] - centre[c]) * unit);
    square += (double)x * (double)x;
    to[(c + halves) * stride + i] = x;
  }
  if (halves) to[i] = i < count ? Real(-0.5 * square) : Real(-infinity);
}

// Sums of columns over the rows of a block: (blocks, columns).
KERNEL column_sums(const Real *from, Index row_step, Index column_step, Index columns, Index count, Index rows_of_block,
                   double *sums) {
  Index first = (Index)blockIdx.x * rows_of_block;
  Index last = first + rows_of_block < count ? first + rows_of_block : count;
  for (Index c = threadIdx.x; c < columns; c += THREADS) {
    double sum = 0;
    for (Index i = first; i < last; i++) sum += (double)from[i * row_step + c * column_step];
    sums[blockIdx.x * columns + c] = sum;
  }
}

// For each row: the squared distance from the centre, the largest coordinate of that difference, and whether a value is
// NaN or infinite: (3, count).
KERNEL extents(const Real *from, Index row_step, Index column_step, Index columns, Index count, const double *centre,
               Real *out) {
  Index i = (Index)blockIdx.x * THREADS + threadIdx.x;
  if (i >= count) return;
  double square = 0, reach = 0;
  bool odd = false;
  for (Index c = 0; c < columns; c++) {
    Real x = from[i * row_step + c * column_step];
    double gap = fabs((double)x - centre[c]);
    odd |= x - x != Real(0);
    square += gap * gap;
    reach = gap > reach ? gap : reach;
  }
  out[i] = Real(square);
  out[count + i] = Real(reach);
  out[2 * count + i] = odd ? Real(1) : Real(0);
}

KERNEL fill(Real *to, Index count, double value) {
  Index i = (Index)blockIdx.x * THREADS + threadIdx.x;
  if (i < count) to[i] = Real(value);
}

KERNEL clear(unsigned *to, Index count) {
  Index i = (Index)blockIdx.x * THREADS + threadIdx.x;
  if (i < count) to[i] = 0;
}
