#include "gaussian_gap.cuh"
#include "kernels.hpp"
#include "launch.cuh"

namespace tk::cuda {

template <class S>
void gaussian_gap(const GaussianGapArguments<S>& arguments, Stream stream) {
    if (arguments.n == 0) return;
    const int threads = gap_threads<S>(arguments.dim);
    const std::size_t shared = static_cast<std::size_t>(3 * arguments.dim * threads) * sizeof(S);
    launch("differences of Gaussian scores", gaussian_gap_kernel<S>, blocks_for(arguments.n, threads),
           static_cast<unsigned>(threads), shared, static_cast<cudaStream_t>(stream), arguments);
}

template void gaussian_gap(const GaussianGapArguments<float>&, Stream);
template void gaussian_gap(const GaussianGapArguments<double>&, Stream);

}  // namespace tk::cuda
