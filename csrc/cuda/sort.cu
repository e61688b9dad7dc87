#include "sort.cuh"

#if defined(__CUDACC__)
#include <cub/device/device_radix_sort.cuh>
#endif

#include "launch.cuh"

namespace tk::cuda {

void sort_pairs(const std::uint64_t* keys, std::uint64_t* sorted_keys, const std::int32_t* values,
                std::int32_t* sorted_values, std::int64_t n, cudaStream_t stream) {
    std::size_t bytes = 0;
    const auto sort = [&](void* memory) {
        check(
            cub::DeviceRadixSort::SortPairs(memory, bytes, keys, sorted_keys, values, sorted_values, n, 0, 64, stream),
            "sorting");
    };
    sort(nullptr);  // asks for the bytes it needs
    const Buffer<unsigned char> memory(static_cast<std::int64_t>(bytes), stream);
    sort(memory.get());
}

}  // namespace tk::cuda
