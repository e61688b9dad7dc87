#include <initializer_list>
#include <optional>

#include "kernels.hpp"
#include "launch.cuh"
#include "stream.cuh"

namespace tk::cuda {

// Rows of `dim` numbers in the arrays given, of which some may be null.
static RowTiles row_tiles(std::int64_t n, std::int64_t dim, std::initializer_list<const void*> arrays) {
    RowTiles tiles{n, dim, (dim + row_chunk - 1) / row_chunk, 1, dim % row_pack == 0};
    if (tiles.chunks < 1) tiles.chunks = 1;
    const std::int64_t longest = dim < row_chunk ? dim : row_chunk;
    while (tiles.group < row_threads && tiles.group * row_pack < longest) tiles.group *= 2;
    for (const void* array : arrays)
        if (reinterpret_cast<std::uintptr_t>(array) % 16 != 0) tiles.wide = false;
    return tiles;
}

template <class Work>
static void run_rows(const char* name, const Work& work, const RowTiles& tiles, cudaStream_t stream) {
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

template <class S>
void trajectory_step(const StreamArguments<S>& a, Stream given) {
    if (a.n == 0) return;
    const auto stream = static_cast<cudaStream_t>(given);
    const RowTiles tiles =
        row_tiles(a.nodes * a.n, a.dim, {a.x, a.model, a.reference, a.drawn, a.carried, a.previous, a.next, a.noise});
    const auto go = [&](const auto& work) { run_rows("trajectory step", work, tiles, stream); };
    if (a.sampler && a.reverse) return go(StreamWork<S, true, true>{a});
    if (a.sampler) return go(StreamWork<S, true, false>{a});
    if (a.reverse) return go(StreamWork<S, false, true>{a});
    go(StreamWork<S, false, false>{a});
}

template <class S>
void hutchinson(const ProbeArguments<S>& a, Stream given) {
    if (a.n == 0) return;
    run_rows("Hutchinson's contraction", ProbeWork<S>{a}, row_tiles(a.n, a.dim, {a.products}),
             static_cast<cudaStream_t>(given));
}

template void trajectory_step(const StreamArguments<float>&, Stream);
template void trajectory_step(const StreamArguments<double>&, Stream);
template void hutchinson(const ProbeArguments<float>&, Stream);
template void hutchinson(const ProbeArguments<double>&, Stream);

}  // namespace tk::cuda
