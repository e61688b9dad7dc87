// Neighbour search on the CPU.
#include "core_parts.hpp"
#include "neighbour_ops.hpp"
#include "running.hpp"

namespace tk::bindings {

void define_neighbours(py::module_& module) {
    define_neighbour_ops<Cpu, float>(module, "_float32");
    define_neighbour_ops<Cpu, double>(module, "_float64");
}

}  // namespace tk::bindings
