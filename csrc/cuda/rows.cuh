// Rows of memory, one path each and of any length, with sums along each.
//
// A row is cut into chunks, and a chunk is shared by a group of threads: a power of two of them, as many as have work.
// A thread takes every group-th pack of four components, which is a block of Philox too. A group adds up by halves
// within its warps and then in the order of warps; where a row has more chunks than one, a second kernel adds them in
// their order. None of this depends on the number of rows or on the device: a row's bits are its own.
#pragma once

#include "normals.cuh"
#include "packs.cuh"

namespace tk::cuda {

constexpr int row_threads = 256, row_pack = 4;
constexpr int row_chunk = 4 * row_pack * row_threads;  // components
constexpr int warp_threads = 32;
// Blocks that a multiprocessor should hold at once, so that registers are not spilled to save a few.
template <class S>
constexpr int row_blocks = sizeof(S) == 4 ? 3 : 2;
constexpr unsigned whole_warp = 0xffffffffu;

struct RowTiles {
    std::int64_t n, dim;
    std::int64_t chunks;  // of a row, at least one
    int group;            // threads of a chunk
    bool wide;            // whether all packs are whole and lie on sixteen bytes
};

template <int Count, class S>
TK_HD void store_packs(S* to, const S* from) {
    constexpr int size = 16 / sizeof(S);
    TK_UNROLL
    for (int p = 0; p < Count / size; ++p) {
        Pack<S> pack;
        TK_UNROLL
        for (int i = 0; i < size; ++i) pack.numbers[i] = from[p * size + i];
        reinterpret_cast<Pack<S>*>(to)[p] = pack;
    }
}

template <class S>
__device__ __forceinline__ void load_row(const S* from, bool wide, int count, S* to) {
    if (wide) return load_packs<row_pack>(from, to);
    TK_UNROLL
    for (int i = 0; i < row_pack; ++i) to[i] = i < count ? from[i] : S(0);
}

template <class S>
__device__ __forceinline__ void store_row(S* to, bool wide, int count, const S* from) {
    if (wide) return store_packs<row_pack>(to, from);
    TK_UNROLL
    for (int i = 0; i < row_pack; ++i)
        if (i < count) to[i] = from[i];
}

// Normal numbers first … first + count − 1 of a path's stream, count ≤ 4, from one block of it or from two.
template <class S>
__device__ __forceinline__ void draw_row(std::uint64_t seed, Purpose purpose, PathIndex<S> path, std::uint64_t first,
                                         int count, S* to) {
    const std::uint32_t block = static_cast<std::uint32_t>(first / row_pack);
    const int offset = static_cast<int>(first % row_pack);
    S numbers[2 * row_pack] = {};
    normal_block<S>(seed, purpose, path, block, numbers);
    if (offset + count > row_pack) normal_block<S>(seed, purpose, path, block + 1, numbers + row_pack);
    TK_UNROLL
    for (int i = 0; i < row_pack; ++i) {
        TK_UNROLL
        for (int o = 0; o < row_pack; ++o)  // constant indices let the numbers stay in registers
            if (o == offset) to[i] = numbers[o + i];
    }
}

// The sums of the thread `by` lanes further, of the same segment of `width` lanes.
template <class S, class Sums>
__device__ __forceinline__ Sums sums_behind(const Sums& own, int by, int width) {
    constexpr int count = sizeof(Sums) / sizeof(S);
    S numbers[count];
    __builtin_memcpy(numbers, &own, sizeof own);
    TK_UNROLL
    for (int i = 0; i < count; ++i)
        numbers[i] = __shfl_down_sync(whole_warp, numbers[i], static_cast<unsigned>(by), width);
    Sums behind;
    __builtin_memcpy(&behind, numbers, sizeof behind);
    return behind;
}

// Sums over a group, for its first thread. All threads of the block call it.
template <class S, class Sums>
__device__ __forceinline__ void add_group(Sums& own, int group) {
    const int width = group < warp_threads ? group : warp_threads, thread = static_cast<int>(threadIdx.x);
    for (int by = width / 2; by > 0; by /= 2) own.add(sums_behind<S>(own, by, width));
    if (group <= warp_threads) return;
    TK_DYN_SHARED(Sums, of_warps);
    const int warp = thread / warp_threads;
    if (thread % warp_threads == 0) of_warps[warp] = own;
    __syncthreads();
    if (thread % group == 0)
        for (int other = 1; other < group / warp_threads; ++other) own.add(of_warps[warp + other]);
}

// `work.add` takes a pack of a row, `work.finish` a row's sums; parts (n, chunks) are null where a row has one chunk.
template <class Work>
__global__ void __launch_bounds__(row_threads, row_blocks<typename Work::Scalar>)
    rows_kernel(const __grid_constant__ Work work, const __grid_constant__ RowTiles tiles, typename Work::Sums* parts) {
    const int thread = static_cast<int>(threadIdx.x), member = thread % tiles.group;
    const std::int64_t item =
        static_cast<std::int64_t>(blockIdx.x) * (row_threads / tiles.group) + thread / tiles.group;
    const std::int64_t row = item / tiles.chunks, begin = item % tiles.chunks * row_chunk;
    const bool there = row < tiles.n;
    typename Work::Sums sums;
    if (there) {
        const std::int64_t end = begin + row_chunk < tiles.dim ? begin + row_chunk : tiles.dim;
        for (std::int64_t c = begin + row_pack * member; c < end; c += row_pack * tiles.group)
            work.add(tiles.wide, row, c, static_cast<int>(end - c < row_pack ? end - c : row_pack), sums);
    }
    add_group<typename Work::Scalar>(sums, tiles.group);
    if (!there || member != 0) return;
    if (parts != nullptr)
        parts[item] = sums;
    else
        work.finish(row, sums);
}

template <class Work>
__global__ void __launch_bounds__(row_threads)
    finish_rows_kernel(const __grid_constant__ Work work, const __grid_constant__ RowTiles tiles,
                       const typename Work::Sums* parts) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * row_threads + threadIdx.x;
    if (row >= tiles.n) return;
    typename Work::Sums sums = parts[row * tiles.chunks];
    for (std::int64_t chunk = 1; chunk < tiles.chunks; ++chunk) sums.add(parts[row * tiles.chunks + chunk]);
    work.finish(row, sums);
}

}  // namespace tk::cuda
