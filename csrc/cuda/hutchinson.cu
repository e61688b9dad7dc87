// Hutchinson's contraction, a pack of a row at a time.
#include "../core/hutchinson.hpp"
#include "kernels.hpp"
#include "row_launch.cuh"

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

template <class S>
void hutchinson(const HutchinsonArguments<S>& a, Stream given) {
    if (a.n == 0) return;
    run_rows("Hutchinson's contraction", HutchinsonWork<S>{a}, row_tiles(a.n, a.dim, {a.products}),
             static_cast<cudaStream_t>(given));
}

template void hutchinson(const HutchinsonArguments<float>&, Stream);
template void hutchinson(const HutchinsonArguments<double>&, Stream);

}  // namespace tk::cuda
