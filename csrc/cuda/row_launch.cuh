// How kernels that work along rows are launched.
#pragma once

#include <initializer_list>
#include <optional>

#include "launch.cuh"
#include "rows.cuh"

namespace tk::cuda {

// Rows of `dim` numbers in the arrays given, of which some may be null.
inline RowTiles row_tiles(std::int64_t n, std::int64_t dim, std::initializer_list<const void*> arrays) {
    RowTiles tiles{n, dim, (dim + row_chunk - 1) / row_chunk, 1, dim % row_pack == 0};
    if (tiles.chunks < 1) tiles.chunks = 1;
    const std::int64_t longest = dim < row_chunk ? dim : row_chunk;
    while (tiles.group < row_threads && tiles.group * row_pack < longest) tiles.group *= 2;
    for (const void* array : arrays)
        if (reinterpret_cast<std::uintptr_t>(array) % 16 != 0) tiles.wide = false;
    return tiles;
}

template <class Work>
void run_rows(const char* name, const Work& work, const RowTiles& tiles, cudaStream_t stream) {
    using Sums = typename Work::Sums;
    const std::int64_t items = tiles.n * tiles.chunks;
    std::optional<Buffer<Sums>> parts;
    if (tiles.chunks > 1) parts.emplace(items, stream);
    const unsigned blocks = blocks_for(items, row_threads / tiles.group);
    launch(name, rows_kernel<Work>, blocks, row_threads, row_threads / warp_threads * sizeof(Sums), stream, work, tiles,
           parts ? parts->get() : nullptr);
    if (!parts) return;
    launch(name, finish_rows_kernel<Work>, blocks_for(tiles.n, row_threads), row_threads, 0, stream, work, tiles,
           parts->get());
}

}  // namespace tk::cuda
