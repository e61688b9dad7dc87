// The tile of paths that a block's shared memory holds, and a network's arguments as a view.
#pragma once

#include "launch.cuh"
#include "network.cuh"

namespace tk::cuda {

// What every device from compute capability 7.5 on gives one block, less what kernels declare themselves.
constexpr int most_shared_bytes = (64 << 10) - 64;

// Where what stands behind the units begins, and where it ends.
inline void place_points(NetworkTile& tile, int begin, int dim, int more) {
    const int points = round_up(tile.paths * dim, 4);
    tile.points = begin;
    tile.outputs = tile.points + points;
    tile.derivatives = tile.outputs + points;
    tile.more = tile.derivatives + points;
    tile.size = tile.more + round_up(tile.paths, tile_columns) * more;
}

// `more`: numbers of each path that a kernel keeps beside.
template <class S>
NetworkTile network_tile(int widest, int dim, bool with_divergence, int more) {
    NetworkTile tile{};
    tile.columns = with_divergence ? 1 + dim : 1;
    tile.row_groups = 1;
    while (tile.row_groups * tile_rows < widest) tile.row_groups *= 2;
    const int most_columns = network_threads / tile.row_groups * tile_columns;
    const int rows = round_up(widest, tile_rows);
    tile.stage_stride = rows + 4;  // apart in banks, and still on sixteen bytes
    for (tile.paths = most_columns / tile.columns; tile.paths > 0; --tile.paths) {
        if (tile.paths > network_threads) continue;
        tile.stride = round_up(tile.paths * tile.columns, tile_columns);
        tile.stage = rows * tile.stride;
        place_points(tile, tile.stage + slice_columns * tile.stage_stride, dim, more);
        if (tile.size * static_cast<int>(sizeof(S)) <= most_shared_bytes) return tile;
    }
    throw std::runtime_error("cuda: the network does not fit into a block's shared memory");
}

}  // namespace tk::cuda
