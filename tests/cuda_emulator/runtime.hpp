// As much of the CUDA runtime as thermokern's launchers call, on the host's memory.
//
// Fresh memory is NaN. A launch runs every block to its end before it returns, so streams and synchronisation are
// empty; a kernel that needs more shared memory than 48 KiB must have been given leave, as on a device.
#pragma once

#include <map>

#include "block.hpp"

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };
struct cudaFuncAttributes {
    int ptxVersion;
};

namespace tk::emulator {

// What the device says of itself. One block a multiprocessor.
struct Device {
    int multiprocessors = 3;
    int ptx_version = 80;  // for which kernels are compiled
};
inline thread_local Device device;

inline std::map<const void*, std::size_t>& allowed_shared_bytes() {
    static std::map<const void*, std::size_t> bytes;
    return bytes;
}

// One block for all kernels of a thread: its stacks and fibers are large.
inline Block& the_block() {
    static thread_local Block only;
    return only;
}

template <class... Parameters, class... Arguments>
void launch(dim3 grid, dim3 size, std::size_t dynamic_bytes, void (*kernel)(Parameters...), Arguments&&... arguments) {
    const auto found = allowed_shared_bytes().find(reinterpret_cast<const void*>(kernel));
    const std::size_t allowed = found == allowed_shared_bytes().end() ? std::size_t(48) << 10 : found->second;
    if (dynamic_bytes > allowed)
        throw Error("launch with " + std::to_string(dynamic_bytes) + " bytes of shared memory, allowed " +
                    std::to_string(allowed));
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
        throw Error("launch of an invalid grid");
    grid_size = grid;
    block_size = size;
    const std::function<void()> body = [&] { kernel(arguments...); };
    for (unsigned z = 0; z < grid.z; ++z) {
        for (unsigned y = 0; y < grid.y; ++y) {
            for (unsigned x = 0; x < grid.x; ++x) {
                block_index = {x, y, z};
                the_block().run(body, dynamic_bytes);
            }
        }
    }
}

}  // namespace tk::emulator

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int value) {
    if (value < 0 || static_cast<std::size_t>(value) > tk::emulator::most_shared_bytes) return cudaErrorInvalidValue;
    tk::emulator::allowed_shared_bytes()[reinterpret_cast<const void*>(kernel)] = static_cast<std::size_t>(value);
    return cudaSuccess;
}

template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel*) {
    attributes->ptxVersion = tk::emulator::device.ptx_version;
    return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel*, int, std::size_t) {
    *blocks = 1;
    return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
    *value = tk::emulator::device.multiprocessors;
    return cudaSuccess;
}

inline cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t) {
    *memory = std::malloc(bytes > 0 ? bytes : 1);
    if (*memory == nullptr) return cudaErrorMemoryAllocation;
    std::memset(*memory, tk::emulator::uninitialised, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaFreeAsync(void* memory, cudaStream_t) {
    std::free(memory);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess                 ? "no error"
           : error == cudaErrorMemoryAllocation ? "out of memory"
                                                : "invalid argument";
}
inline cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidValue; }
inline cudaError_t cudaDriverGetVersion(int* version) {
    *version = 13000;
    return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}

// CUB's sort of pairs, which is stable: without memory it says how much it needs.
namespace cub {
struct DeviceRadixSort {
    template <class Key, class Value>
    static cudaError_t SortPairs(void* memory, std::size_t& bytes, const Key* keys, Key* sorted_keys,
                                 const Value* values, Value* sorted_values, std::int64_t n, int begin_bit, int end_bit,
                                 cudaStream_t) {
        if (begin_bit != 0 || end_bit != 8 * static_cast<int>(sizeof(Key))) return cudaErrorInvalidValue;
        if (memory == nullptr) {
            bytes = 1;
            return cudaSuccess;
        }
        std::vector<std::int64_t> places(static_cast<std::size_t>(n));
        std::iota(places.begin(), places.end(), std::int64_t{0});
        std::stable_sort(places.begin(), places.end(), [&](auto a, auto b) { return keys[a] < keys[b]; });
        for (std::int64_t i = 0; i < n; ++i) {
            sorted_keys[i] = keys[places[static_cast<std::size_t>(i)]];
            sorted_values[i] = values[places[static_cast<std::size_t>(i)]];
        }
        return cudaSuccess;
    }
};
}  // namespace cub
