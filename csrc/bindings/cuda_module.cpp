// thermokern._cuda: the CUDA kernels, one checked function each, with the signatures of thermokern._core. The tests
// build it once more, as TK_CUDA_MODULE with the emulator for the device.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "cuda_machine.hpp"
#include "ops.hpp"

#if defined(TK_EMULATED)
#include <cuda_emulator.hpp>
#endif
#if !defined(TK_CUDA_MODULE)
#define TK_CUDA_MODULE _cuda
#endif

PYBIND11_MODULE(TK_CUDA_MODULE, module) {
    using namespace tk::bindings;
    using namespace py::literals;
    module.doc() = "CUDA kernels of thermokern. Outputs are allocated by the caller.";
    module.def("absence", &tk::cuda::absence);
    define_ops<Cuda>(module);
#if defined(TK_EMULATED)
    module.def(
        "set_order",
        [](int order, unsigned seed) { tk::emulator::options = {static_cast<tk::emulator::Order>(order), seed}; },
        "order"_a, "seed"_a);
#endif
}
