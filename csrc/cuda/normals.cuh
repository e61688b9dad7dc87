// Random numbers: a grid stride over the Philox blocks of all paths.
#pragma once

#include "../core/arguments.hpp"
#include "../core/normals.hpp"
#include "device.cuh"

namespace tk::cuda {

constexpr int normals_threads = 256;

template <class S>
TK_HD PathIndex<S> path_index(std::uint64_t path) {
    return {static_cast<std::uint32_t>(path), static_cast<std::uint32_t>(path >> 32)};
}

template <class S>
__global__ void __launch_bounds__(normals_threads)
    normals_kernel(const __grid_constant__ NormalsArguments<S> arguments) {
    const std::uint64_t end = arguments.first + static_cast<std::uint64_t>(arguments.count);
    const std::uint64_t first_block = arguments.first / 4, blocks = (end + 3) / 4 - first_block;
    const std::uint64_t items = static_cast<std::uint64_t>(arguments.n) * blocks;
    const std::uint64_t stride = static_cast<std::uint64_t>(gridDim.x) * normals_threads;
    for (std::uint64_t item = static_cast<std::uint64_t>(blockIdx.x) * normals_threads + threadIdx.x; item < items;
         item += stride) {
        const std::uint64_t path = item / blocks, block = first_block + item % blocks;
        S values[4];
        normal_block<S>(arguments.seed, static_cast<Purpose>(arguments.purpose),
                        path_index<S>(arguments.path_offset + path), static_cast<std::uint32_t>(block), values);
        S* row = arguments.out + path * static_cast<std::uint64_t>(arguments.count);
        TK_UNROLL
        for (int j = 0; j < 4; ++j) {
            const std::uint64_t number = 4 * block + static_cast<std::uint64_t>(j);
            if (number >= arguments.first && number < end) row[number - arguments.first] = values[j];
        }
    }
}

}  // namespace tk::cuda
