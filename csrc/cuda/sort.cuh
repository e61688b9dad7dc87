// A stable sort of 32-bit values by 64-bit keys over the whole device.
#pragma once

#include <cstdint>

#include "device.cuh"

namespace tk::cuda {

// keys and values, n of them, to sorted_keys and sorted_values.
void sort_pairs(const std::uint64_t* keys, std::uint64_t* sorted_keys, const std::int32_t* values,
                std::int32_t* sorted_values, std::int64_t n, cudaStream_t stream);

}  // namespace tk::cuda
