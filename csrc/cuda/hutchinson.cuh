// Hutchinson's contraction, a pack of a row at a time.
#pragma once

#include "../core/hutchinson.hpp"
#include "rows.cuh"

namespace tk::cuda {

template <class S>
struct HutchinsonWork {
    using Scalar = S;
    using Sums = HutchinsonSums<S>;
    HutchinsonArguments<S> a;

    __device__ __forceinline__ void add(bool wide, std::int64_t row, std::int64_t c, int count, Sums& sums) const {
        S products[row_pack], z[row_pack];
        load_row(a.products + row * a.dim + c, wide, count, products);
        draw_row<S>(a.seed, Purpose::probe, path_index<S>(a.path_offset + static_cast<std::uint64_t>(row)),
                    a.first + static_cast<std::uint64_t>(c), count, z);
        TK_UNROLL
        for (int i = 0; i < row_pack; ++i) {
            if (i >= count) continue;
            sums.add(a.kind, z[i], products[i]);
        }
    }

    __device__ __forceinline__ void finish(std::int64_t row, const Sums& sums) const {
        a.out[row] = sums.finish(a.kind, a.dim);
    }
};

}  // namespace tk::cuda
