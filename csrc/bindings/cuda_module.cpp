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
    module.def(
        "set_device",
        [](int multiprocessors, int ptx_version, bool nearest) {
            tk::emulator::device = {multiprocessors, ptx_version};
            tk::emulator::sums = nearest ? tk::emulator::Sums::nearest : tk::emulator::Sums::truncated;
        },
        "multiprocessors"_a = 3, "ptx_version"_a = 80, "nearest"_a = false);
    module.def("blocks", [] { return tk::emulator::grid_size.x; });  // of the last launch
#endif
}
