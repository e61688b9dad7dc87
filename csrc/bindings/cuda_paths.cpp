// Normals, scores and everything that runs along paths, on a CUDA device.
#include "cuda_parts.hpp"
#include "cuda_running.hpp"
#include "path_ops.hpp"

namespace tk::bindings {

void define_cuda_paths(py::module_& module) {
    define_path_ops<Cuda, float>(module, "_float32");
    define_path_ops<Cuda, double>(module, "_float64");
}

}  // namespace tk::bindings
