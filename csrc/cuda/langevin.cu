#include "kernels.hpp"
#include "langevin.cuh"
#include "launch.cuh"

namespace tk::cuda {

template <class S>
void langevin(const LangevinArguments<S>& arguments, Stream stream) {
    if (arguments.n == 0) return;
    const LinearLangevin<S> system = system_of(arguments);
    const PathArrays<S> paths{.n = arguments.n,
                              .dim = static_cast<int>(arguments.dim),
                              .offset = arguments.path_offset,
                              .x = arguments.x,
                              .value = arguments.work,
                              .mismatch = nullptr,
                              .x_last = arguments.x_last,
                              .coarse = nullptr};
    with_dim<true>(arguments.dim, [&](auto d) {
        constexpr int bound = decltype(d)::bound, fixed = bound == max_dim ? 0 : bound;
        launch("Langevin paths", langevin_kernel<S, fixed>, blocks_for(arguments.n, mixture_threads), mixture_threads,
               0, static_cast<cudaStream_t>(stream), system, paths);
    });
}

template void langevin(const LangevinArguments<float>&, Stream);
template void langevin(const LangevinArguments<double>&, Stream);

}  // namespace tk::cuda
