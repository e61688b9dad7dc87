// Launches, memory and errors on the host's side: every call of the CUDA runtime is checked here.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "device.cuh"

namespace tk::cuda {

inline void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess) throw std::runtime_error(std::string("cuda: ") + what + ": " + cudaGetErrorString(error));
}

// Memory of the device that is freed, in the order of its stream, with its scope.
template <class T>
class Buffer {
 public:
    Buffer(std::int64_t count, cudaStream_t stream) : stream_(stream) {
        const std::size_t bytes = static_cast<std::size_t>(count > 0 ? count : 1) * sizeof(T);
        check(cudaMallocAsync(reinterpret_cast<void**>(&data_), bytes, stream),
              ("allocating " + std::to_string(bytes) + " bytes").c_str());
    }
    ~Buffer() { static_cast<void>(cudaFreeAsync(data_, stream_)); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    T* get() const { return data_; }

 private:
    T* data_ = nullptr;
    cudaStream_t stream_;
};

// The copy has left `from` when this returns.
template <class T>
void copy_to_device(T* to, const T* from, std::int64_t count, cudaStream_t stream) {
    check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(count) * sizeof(T), cudaMemcpyHostToDevice, stream),
          "copying to the device");
}

template <class T>
void copy_on_device(T* to, const T* from, std::int64_t count, cudaStream_t stream) {
    check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(count) * sizeof(T), cudaMemcpyDeviceToDevice, stream),
          "copying on the device");
}

// One value, after everything before it in the stream.
template <class T>
T value_on_host(const T* from, cudaStream_t stream) {
    T value;
    check(cudaMemcpyAsync(&value, from, sizeof(T), cudaMemcpyDeviceToHost, stream), "copying to the host");
    check(cudaStreamSynchronize(stream), "waiting for a result");
    return value;
}

inline unsigned blocks_for(std::int64_t items, std::int64_t items_of_block) {
    const std::int64_t blocks = (items + items_of_block - 1) / items_of_block;
    if (blocks > 0x7fffffff) throw std::runtime_error("cuda: more than 2^31 blocks: pass fewer paths at once");
    return static_cast<unsigned>(blocks);
}

template <class... Parameters>
void allow_shared_bytes(const char* name, void (*kernel)(Parameters...), std::size_t bytes) {
    if (bytes <= std::size_t(48) << 10) return;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)), name);
}

// Blocks of a kernel that the current device holds at once.
template <class... Parameters>
unsigned resident_blocks(const char* name, void (*kernel)(Parameters...), unsigned threads, std::size_t shared_bytes) {
    int device = 0, multiprocessors = 0, of_each = 0;
    allow_shared_bytes(name, kernel, shared_bytes);
    check(cudaGetDevice(&device), name);
    check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), name);
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&of_each, kernel, static_cast<int>(threads), shared_bytes),
          name);
    return static_cast<unsigned>(multiprocessors * of_each);
}

// Every kernel goes through here.
template <class... Parameters>
void launch(const char* name, void (*kernel)(Parameters...), unsigned blocks, unsigned threads,
            std::size_t shared_bytes, cudaStream_t stream, const std::type_identity_t<Parameters>&... arguments) {
    allow_shared_bytes(name, kernel, shared_bytes);
    TK_LAUNCH(dim3(blocks), dim3(threads), shared_bytes, stream, kernel, arguments...);
    check(cudaGetLastError(), name);
}

}  // namespace tk::cuda
