#include "kernels.hpp"
#include "launch.cuh"
#include "normals.cuh"

namespace tk::cuda {

template <class S>
void normals(const NormalsArguments<S>& arguments, Stream stream) {
    if (arguments.n == 0 || arguments.count == 0) return;
    const std::int64_t items = arguments.n * ((arguments.count + 3) / 4 + 1);
    const std::int64_t most = 16 * 1024 * normals_threads;  // the grid strides over the rest
    launch("normals", normals_kernel<S>, blocks_for(items < most ? items : most, normals_threads), normals_threads, 0,
           static_cast<cudaStream_t>(stream), arguments);
}

template void normals(const NormalsArguments<float>&, Stream);
template void normals(const NormalsArguments<double>&, Stream);

}  // namespace tk::cuda
