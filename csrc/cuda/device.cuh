// What the kernels need of the machine, by names that nvcc and the emulator of the tests both give a meaning.
//
// The emulator runs these sources on the CPU, compiled by g++: tests/cuda_emulator.
#pragma once

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#include <type_traits>

// A variable of the block, and memory of the block whose size the launch gives.
#define TK_SHARED(T, name) __shared__ std::type_identity_t<T> name
#define TK_DYN_SHARED(T, name)                                         \
    extern __shared__ __align__(16) unsigned char tk_dynamic_shared[]; \
    T* const name = reinterpret_cast<T*>(tk_dynamic_shared)
#define TK_LAUNCH(grid, size, dynamic_bytes, stream, kernel, ...) \
    kernel<<<grid, size, dynamic_bytes, stream>>>(__VA_ARGS__)
#else
#include <cuda_emulator.hpp>
#endif

// Functions for host and device whose body only a device has: nvcc compiles them for the host as well.
#if defined(__CUDA_ARCH__) || !defined(__CUDACC__)
#define TK_ON_DEVICE 1
#else
#define TK_ON_DEVICE 0
#endif
