// Neighbour search on a CUDA device.
#include "cuda_parts.hpp"
#include "cuda_running.hpp"
#include "neighbour_ops.hpp"

namespace tk::bindings {

void define_cuda_neighbours(py::module_& module) {
    define_neighbour_ops<Cuda, float>(module, "_float32");
    define_neighbour_ops<Cuda, double>(module, "_float64");
}

}  // namespace tk::bindings
