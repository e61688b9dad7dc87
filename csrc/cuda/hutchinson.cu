#include "hutchinson.cuh"
#include "kernels.hpp"
#include "row_launch.cuh"

namespace tk::cuda {

template <class S>
void hutchinson(const HutchinsonArguments<S>& a, Stream given) {
    if (a.n == 0) return;
    run_rows("Hutchinson's contraction", HutchinsonWork<S>{a}, row_tiles(a.n, a.dim, {a.products}),
             static_cast<cudaStream_t>(given));
}

template void hutchinson(const HutchinsonArguments<float>&, Stream);
template void hutchinson(const HutchinsonArguments<double>&, Stream);

}  // namespace tk::cuda
