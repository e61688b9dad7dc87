// Hutchinson's contraction of rows with probes that are drawn as they are used.
#include "../core/hutchinson.hpp"

#include "rows.hpp"

TK_BEGIN_NAMESPACE

template <class S>
bool hutchinson(const HutchinsonArguments<S>& a, int threads, Interrupt interrupt) {
    using V = Native<S>;
    const Buffer<RowNormals<S>> scratch(threads);
    const auto rows = [&](std::int64_t first_row, int thread) {
        for (std::int64_t row = first_row; row < first_row + lanes<S> && row < a.n; ++row) {
            const PathNormals<S> normals(a.seed, Purpose::probe, a.path_offset + static_cast<std::uint64_t>(row));
            HutchinsonSums<S> sums;
            for (std::int64_t c = 0; c < a.dim; c += row_tile) {
                const std::int64_t count = a.dim - c < row_tile ? a.dim - c : row_tile;
                const S* p = a.products + row * a.dim + c;
                const S* z = scratch.get()[thread].draw(normals, a.first + static_cast<std::uint64_t>(c), count,
                                                        Soon<S, 1>{{p}});
                HutchinsonSums<V> wide;
                std::int64_t i = 0;
                for (; i + lanes<S> <= count; i += lanes<S>) wide.add(a.kind, load<V>(z + i), load<V>(p + i));
                HutchinsonSums<S> narrow{add_lanes(wide.product), add_lanes(wide.square)};
                for (; i < count; ++i) narrow.add(a.kind, z[i], p[i]);
                sums.add(narrow);
            }
            a.out[row] = sums.finish(a.kind, a.dim);
        }
    };
    return for_each_tile<S>(a.n, 30.0 * static_cast<double>(a.dim), threads, interrupt, rows);
}

template bool hutchinson(const HutchinsonArguments<float>&, int, Interrupt);
template bool hutchinson(const HutchinsonArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
