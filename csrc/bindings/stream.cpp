// The ops on scores that a network computed, on the CPU.
#include "core_parts.hpp"
#include "running.hpp"
#include "stream_ops.hpp"

namespace tk::bindings {

void define_stream(py::module_& module) {
    define_stream_ops<Cpu, float>(module, "_float32");
    define_stream_ops<Cpu, double>(module, "_float64");
}

}  // namespace tk::bindings
