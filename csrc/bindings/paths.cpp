// Normals, scores and everything that runs along paths, on the CPU.
#include "core_parts.hpp"
#include "path_ops.hpp"
#include "running.hpp"

namespace tk::bindings {

void define_paths(py::module_& module) {
    define_path_ops<Cpu, float>(module, "_float32");
    define_path_ops<Cpu, double>(module, "_float64");
}

}  // namespace tk::bindings
