// The ops on scores that a network computed, on a CUDA device.
#include "cuda_parts.hpp"
#include "cuda_running.hpp"
#include "stream_ops.hpp"

namespace tk::bindings {

void define_cuda_stream(py::module_& module) {
    define_stream_ops<Cuda, float>(module, "_float32");
    define_stream_ops<Cuda, double>(module, "_float64");
}

}  // namespace tk::bindings
