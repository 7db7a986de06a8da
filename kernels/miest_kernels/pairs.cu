// All pairs of two sets of points, for any question about them: how a pair becomes a number (a Form) and what becomes
// of the number (a Job) are parameters; the walk over the pairs is written once for few and once for many dimensions.
//
// Points are laid out by `layout.cu`: dims x stride numbers, one dimension after the other, the points filled up to
// whole tiles and whole blocks of rows with a filler that no job takes in. A block of threads takes a range of rows
// and walks over the columns, tile by tile; blockIdx.y takes a share of the tiles, blockIdx.z one of several sets of
// points. A job keeps its state by row, privately to a thread, so that how the work was cut changes no comparison.
//
// Text for NVRTC, nvcc and, with a header of a few macros, for a C++ compiler: no inline PTX, no warp intrinsics.
// Compiled for each case; these macros are the parameters:
//
//   REAL_BITS     32 or 64
//   IN_REGISTERS  1: the coordinates of a thread's rows stay in registers, DIMS of them
//                 0: rows and columns both pass through shared memory, SLAB dimensions at a time
//   THREADS       of a block
//   BLOCKS        of a multiprocessor at once, which bounds the registers; a hint
//   R             rows of a thread's job
//   TILE          columns of a tile
//   SIDE, TALL, WIDE   without registers: SIDE x SIDE threads, each with TALL x WIDE pairs
//   UNROLLED      dimensions whose instructions stand one after the other, as far as registers allow

#ifndef UNROLLED
#define UNROLLED 4
#endif

typedef long long Index;

#if REAL_BITS == 32
typedef float Real;
typedef float Tally; // counts of a tile; comparing into a float and adding it use different units
#define ABS fabsf
#define LARGER fmaxf
#define SMALLER fminf
#define FMA fmaf
#define EXP2 exp2f
#else
typedef double Real;
typedef int Tally;
#define ABS fabs
#define LARGER fmax
#define SMALLER fmin
#define FMA fma
#define EXP2 exp2
#endif

#define INLINE __device__ __forceinline__
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)

struct alignas(16) Quad {
  Real v[4];
};

// How the coordinates of two points become one number: `start` with the first, `step` with each further one.

struct MaxNorm { // max |x - y|; fmax drops NaN, so a filler is NaN in every dimension, and is below no limit
  static INLINE Real start(Real x, Real y) { return ABS(x - y); }
  static INLINE Real step(Real far, Real x, Real y) { return LARGER(far, ABS(x - y)); }
};

struct Square { // |x - y|^2, each operation rounded: compiled without contraction
  static INLINE Real start(Real x, Real y) { return (x - y) * (x - y); }
  static INLINE Real step(Real far, Real x, Real y) { return far + (x - y) * (x - y); }
};

struct Difference { // |x - y|^2 with fused multiply-add
  static INLINE Real start(Real x, Real y) { return (x - y) * (x - y); }
  static INLINE Real step(Real far, Real x, Real y) { return FMA(x - y, x - y, far); }
};

struct Product { // -|x - y|^2 / 2 as x.y - |x|^2 / 2 - |y|^2 / 2; the first dimension holds minus the half squares
  static INLINE Real start(Real x, Real y) { return x + y; }
  static INLINE Real step(Real far, Real x, Real y) { return FMA(x, y, far); }
};

// The points of one launch, fillers included. Row i is column i + row_at, if there is such a column.
struct Space {
  const Real *rows;
  Index row_stride, row_count;
  const Real *columns;
  Index column_stride, tiles, tiles_of_share;
  Index row_at;
  Index dims;
  Index set;          // numbers from one set of points to the next
  const Index *spans; // first and last tile for each block of rows, or nothing: all tiles

  // Tiles are fewer than 2^31: numbering them by int saves registers where they are short.
  INLINE void share(int &first, int &last) const {
    int begin = spans ? (int)spans[2 * blockIdx.x] : 0, end = spans ? (int)spans[2 * blockIdx.x + 1] : (int)tiles;
    first = begin + (int)(blockIdx.y * tiles_of_share);
    last = first + (int)tiles_of_share < end ? first + (int)tiles_of_share : end;
  }
};

#define SPACE_PARAMETERS                                                                                              \
  const Real *rows, Index row_stride, Index row_count, const Real *columns, Index column_stride, Index tiles,         \
      Index tiles_of_share, Index row_at, Index dims, Index set, const Index *spans
#define SPACE                                                                                                         \
  Space {                                                                                                             \
    rows + blockIdx.z * set, row_stride, row_count, columns + blockIdx.z * set, column_stride, tiles, tiles_of_share, \
        row_at, dims, set, spans                                                                                      \
  }

#if IN_REGISTERS

#define PARTS 1 // threads of a block that share a row's job

INLINE int part() { return 0; }
INLINE Index row_of(int r) { return ((Index)blockIdx.x * R + r) * THREADS + threadIdx.x; }

// Few dimensions. A thread holds R rows and meets four columns at a time, which all threads read at once.
template <class Form, class Job> INLINE void sweep(const Space &space, Job &job) {
  __shared__ Quad tile[DIMS][TILE / 4];
  Real x[R][DIMS];
#pragma unroll
  for (int e = 0; e < DIMS; e++)
#pragma unroll
    for (int r = 0; r < R; r++) x[r][e] = (space.rows + e * space.row_stride)[row_of(r)];
  job.take_up();
  int first, last;
  space.share(first, last);
  // Neighbours in ordered data are near in memory, too: begin there, so that lists of the nearest settle early.
  int begin = (int)((space.row_at + (Index)blockIdx.x * R * THREADS) / TILE);
  begin = begin > first && begin < last ? begin : first;
  for (int step = first; step < last; step++) {
    int at = begin + (step - first) < last ? begin + (step - first) : begin + (step - last);
    const Quad *from = (const Quad *)(space.columns + (Index)at * TILE);
    __syncthreads();
    for (unsigned i = threadIdx.x; i < DIMS * (TILE / 4); i += THREADS)
      tile[i / (TILE / 4)][i % (TILE / 4)] = from[i / (TILE / 4) * (space.column_stride / 4) + i % (TILE / 4)];
    __syncthreads();
#pragma unroll 2
    for (int c = 0; c < TILE / 4; c++) {
      Real far[R][4], near[R][4];
#pragma unroll
      for (int e = 0; e < DIMS; e++) {
        Quad y = tile[e][c];
#pragma unroll
        for (int r = 0; r < R; r++)
#pragma unroll
          for (int q = 0; q < 4; q++) {
            far[r][q] = e == 0 ? Form::start(x[r][e], y.v[q]) : Form::step(far[r][q], x[r][e], y.v[q]);
            if constexpr (Job::own > 0) {
              if (e == Job::own - 1) near[r][q] = far[r][q];
            }
          }
      }
      if constexpr (Job::own > 0) {
#pragma unroll
        for (int r = 0; r < R; r++)
#pragma unroll
          for (int q = 0; q < 4; q++) far[r][q] = job.keeps(job.limit[r], far[r][q]) ? near[r][q] : Real(0);
      }
      job.meet(far, (Index)at * TILE + 4 * c);
    }
    job.rest();
  }
  job.put_down();
}

#else

#define ROWS (SIDE * TALL)
#define PARTS (THREADS > ROWS ? THREADS / ROWS : 1)

INLINE int part() { return threadIdx.x / (THREADS / PARTS); }
INLINE Index row_of(int r) { return (Index)blockIdx.x * ROWS + r * THREADS + threadIdx.x % (THREADS / PARTS); }

template <int N> INLINE void fetch(Quad (&to)[N], const Quad *from) {
#pragma unroll
  for (int i = 0; i < N; i++) to[i] = from[i * SIDE];
}

INLINE void copy(Real (&to)[TALL][WIDE], const Real (&from)[TALL][WIDE]) {
#pragma unroll
  for (int q = 0; q < TALL * WIDE; q++) to[q / WIDE][q % WIDE] = from[q / WIDE][q % WIDE];
}

// Many dimensions. A tile of pairs is built as a matrix product is, TALL x WIDE pairs a thread; then it passes through
// shared memory to the threads that own its rows, SIDE quads of columns at a time.
template <class Form, class Job> INLINE void sweep(const Space &space, Job &job) {
  [[maybe_unused]] constexpr int unrolled = UNROLLED; // compilers differ in expanding a macro in a pragma
  const int width = SIDE + 1; // one more than needed, so that the rows of neighbouring threads lie in other banks
  const int operands = SLAB * (ROWS + TILE) / 4, exchange = ROWS * width;
  __shared__ Quad room[operands > exchange ? operands : exchange];
  Quad *left = room, *right = room + SLAB * ROWS / 4;
  const int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
  const Index row = (Index)blockIdx.x * ROWS;
  Real limit[Job::own > 0 ? TALL : 1];
  if constexpr (Job::own > 0) {
#pragma unroll
    for (int i = 0; i < TALL; i++) limit[i] = job.limits[row + (i / 4 * SIDE + ty) * 4 + i % 4];
  }
  const int dims = (int)space.dims;
  const Index row_quads = space.row_stride / 4, column_quads = space.column_stride / 4;
  int first, last;
  space.share(first, last);
  for (int at = first; at < last; at++) {
    Real far[TALL][WIDE], near[Job::own > 0 ? TALL : 1][Job::own > 0 ? WIDE : 1];
    // Each thread brings the same place of every few dimensions.
    const Quad *x = (const Quad *)(space.rows + row) + threadIdx.x / (ROWS / 4) * row_quads + threadIdx.x % (ROWS / 4);
    const Quad *y = (const Quad *)(space.columns + (Index)at * TILE) + threadIdx.x / (TILE / 4) * column_quads +
                    threadIdx.x % (TILE / 4);
    for (int slab = 0, depth; slab < dims; slab += depth) {
      depth = slab == 0 ? 1 : dims - slab < SLAB ? dims - slab : SLAB;
      __syncthreads();
#pragma unroll
      for (int e = 0; e < SLAB; e += THREADS / (ROWS / 4))
        if (e + (int)threadIdx.x / (ROWS / 4) < depth) left[e * (ROWS / 4) + threadIdx.x] = x[e * row_quads];
#pragma unroll
      for (int e = 0; e < SLAB; e += THREADS / (TILE / 4))
        if (e + (int)threadIdx.x / (TILE / 4) < depth) right[e * (TILE / 4) + threadIdx.x] = y[e * column_quads];
      x += depth * row_quads;
      y += depth * column_quads;
      __syncthreads();
      Quad a[TALL / 4], b[WIDE / 4];
      if (slab == 0) {
        fetch(a, left + ty);
        fetch(b, right + tx);
#pragma unroll
        for (int i = 0; i < TALL; i++)
#pragma unroll
          for (int j = 0; j < WIDE; j++) far[i][j] = Form::start(a[i / 4].v[i % 4], b[j / 4].v[j % 4]);
        if constexpr (Job::own == 1) copy(near, far);
        continue;
      }
#pragma unroll unrolled
      for (int e = 0; e < depth; e++) {
        fetch(a, left + e * (ROWS / 4) + ty);
        fetch(b, right + e * (TILE / 4) + tx);
#pragma unroll
        for (int i = 0; i < TALL; i++)
#pragma unroll
          for (int j = 0; j < WIDE; j++)
            far[i][j] = Form::step(far[i][j], a[i / 4].v[i % 4], b[j / 4].v[j % 4]);
        if constexpr (Job::own > 1) {
          if (slab + e == Job::own - 1) copy(near, far);
        }
      }
    }
    if constexpr (Job::own > 0) {
#pragma unroll
      for (int i = 0; i < TALL; i++)
#pragma unroll
        for (int j = 0; j < WIDE; j++) far[i][j] = job.keeps(limit[i], far[i][j]) ? near[i][j] : Real(0);
    }
    job.take_up(); // only now, so that its state needs no registers before
#pragma unroll
    for (int j = 0; j < WIDE / 4; j++) {
      __syncthreads();
#pragma unroll
      for (int i = 0; i < TALL; i++) {
        Quad out;
#pragma unroll
        for (int q = 0; q < 4; q++) out.v[q] = far[i][4 * j + q];
        room[((i / 4 * SIDE + ty) * 4 + i % 4) * width + tx] = out;
      }
      __syncthreads();
      for (int c = part(); c < SIDE; c += PARTS) {
        Real met[R][4];
#pragma unroll
        for (int r = 0; r < R; r++) {
          Quad in = room[(r * THREADS + threadIdx.x % (THREADS / PARTS)) * width + c];
#pragma unroll
          for (int q = 0; q < 4; q++) met[r][q] = in.v[q];
        }
        job.meet(met, (Index)at * TILE + 4 * (j * SIDE + c));
      }
    }
    job.rest();
    job.put_down();
  }
}

#endif

// A job keeps its state in `slots` of all rows, one for each set, share and part.
INLINE Index slot() { return ((Index)blockIdx.z * gridDim.y + blockIdx.y) * PARTS + part(); }
