// Just enough of CUDA C++ for g++: the threads of a block are threads, its barrier is a barrier, and the blocks that share
// memory run one after the other, so that it can be static. Stands before a .cu file; SHIM_KERNEL(name) follows for each kernel.
// Of the standard library only C headers are used: they are read in no time, and a test compiles some thirty programs.
#pragma once
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct Dim3 {
  unsigned x, y, z;
};
static thread_local Dim3 threadIdx, blockIdx;
static Dim3 blockDim, gridDim;
static pthread_barrier_t shim_barrier;
static thread_local bool shim_met; // whether this thread met the others in this block

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

#define fabs __builtin_fabs
#define fmax __builtin_fmax
#define fmin __builtin_fmin
#define fma __builtin_fma
#define exp2 __builtin_exp2
#define log2 __builtin_log2
#define fabsf __builtin_fabsf
#define fmaxf __builtin_fmaxf
#define fminf __builtin_fminf
#define fmaf __builtin_fmaf
#define exp2f __builtin_exp2f

static void __syncthreads() {
  shim_met = true;
#ifndef SHIM_WITHOUT_BARRIER // which a test of the test defines
  pthread_barrier_wait(&shim_barrier);
#endif
}

template <class T> T atomicAdd(T *place, T value) { return __atomic_fetch_add(place, value, __ATOMIC_RELAXED); }

inline int __float_as_int(float value) {
  int bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline long long __double_as_longlong(double value) {
  long long bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

template <class F> struct Launch {
  const F *run;
  unsigned thread;
};

template <class F> void *shim_thread(void *given) {
  Launch<F> *launch = (Launch<F> *)given;
  threadIdx = {launch->thread, 0, 0};
  for (unsigned z = 0; z < gridDim.z; z++)
    for (unsigned y = 0; y < gridDim.y; y++)
      for (unsigned x = 0; x < gridDim.x; x++) {
        blockIdx = {x, y, z};
        shim_met = false;
        (*launch->run)();
        if (shim_met) __syncthreads(); // the next block has the same shared memory
      }
  return nullptr;
}

template <class F> void shim_launch(const unsigned *shape, const F &run) {
  const unsigned count = shape[3];
  gridDim = {shape[0], shape[1], shape[2]};
  blockDim = {count, 1, 1};
  pthread_barrier_init(&shim_barrier, nullptr, count);
  pthread_t *threads = (pthread_t *)malloc(count * sizeof(pthread_t));
  Launch<F> *launches = (Launch<F> *)malloc(count * sizeof(Launch<F>));
  for (unsigned t = 0; t < count; t++) {
    launches[t] = {&run, t};
    if (pthread_create(&threads[t], nullptr, shim_thread<F>, &launches[t])) abort();
  }
  for (unsigned t = 0; t < count; t++) pthread_join(threads[t], nullptr);
  free(threads);
  free(launches);
  pthread_barrier_destroy(&shim_barrier);
}

template <class T> T shim_argument(const long long *bits) { // every argument has 8 bytes
  static_assert(sizeof(T) == 8);
  T value;
  memcpy(&value, bits, sizeof value);
  return value;
}

template <int... I> struct Places {};

template <class... A, int... I>
void shim_call(const unsigned *shape, const long long *arguments, void (*kernel)(A...), Places<I...>) {
  shim_launch(shape, [=] { kernel(shim_argument<A>(arguments + I)...); });
}

template <class... A> void shim_enter(const unsigned *shape, const long long *arguments, void (*kernel)(A...)) {
  shim_call(shape, arguments, kernel, Places<__integer_pack((int)sizeof...(A))...>());
}

#define SHIM_KERNEL(name)                                                                                             \
  extern "C" void shim_##name(const unsigned *shape, const long long *arguments) { shim_enter(shape, arguments, name); }
