// Random numbers over arrays.
#include "rows.hpp"

TK_BEGIN_NAMESPACE

// Many numbers of each path, along it: as many at a time as fit the row.
template <class S>
static bool long_rows(const NormalsArguments<S>& arguments, int threads, Interrupt interrupt) {
    const Purpose purpose = static_cast<Purpose>(arguments.purpose);
    const Buffer<RowNormals<S>> scratch(threads);
    const auto tile = [&](std::int64_t first, int thread) {
        RowNormals<S>& own = scratch.get()[thread];
        for (std::int64_t row = first; row < first + lanes<S> && row < arguments.n; ++row) {
            const PathNormals<S> path(arguments.seed, purpose, arguments.path_offset + static_cast<std::uint64_t>(row));
            for (std::int64_t c = 0; c < arguments.count; c += row_tile) {
                const std::int64_t count = arguments.count - c < row_tile ? arguments.count - c : row_tile;
                const S* numbers = own.draw(path, arguments.first + static_cast<std::uint64_t>(c), count, Soon<S, 0>{});
                __builtin_memcpy(arguments.out + row * arguments.count + c, numbers,
                                 static_cast<std::size_t>(count) * sizeof(S));
            }
        }
    };
    return for_each_tile<S>(arguments.n, 20.0 * static_cast<double>(arguments.count), threads, interrupt, tile);
}

template <class S>
bool normals(const NormalsArguments<S>& arguments, int threads, Interrupt interrupt) {
    if (arguments.count >= 8 * lanes<S>) return long_rows(arguments, threads, interrupt);
    const std::uint64_t end = arguments.first + static_cast<std::uint64_t>(arguments.count);
    const Purpose purpose = static_cast<Purpose>(arguments.purpose);
    const auto tile = [&](std::int64_t first, int) {
        const PathIndex<Native<S>> path = path_index<S>(arguments.path_offset + static_cast<std::uint64_t>(first));
        for (std::uint64_t block = arguments.first / 4; 4 * block < end; ++block) {
            Native<S> values[4];
            normal_block<Native<S>>(arguments.seed, purpose, path, static_cast<std::uint32_t>(block), values);
            for (int j = 0; j < 4; ++j) {
                const std::uint64_t number = 4 * block + static_cast<std::uint64_t>(j);
                if (number < arguments.first || number >= end) continue;
                S* column = arguments.out + (number - arguments.first);
                for (int lane = 0; lane < lanes<S> && first + lane < arguments.n; ++lane)
                    column[(first + lane) * arguments.count] = values[j][lane];
            }
        }
    };
    const double work = 20.0 * static_cast<double>(arguments.count);
    return for_each_tile<S>(arguments.n, work, threads, interrupt, tile);
}

template bool normals(const NormalsArguments<float>&, int, Interrupt);
template bool normals(const NormalsArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
