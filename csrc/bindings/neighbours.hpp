// The neighbour kernels in the module.
#pragma once

#include <pybind11/pybind11.h>

namespace tk::bindings {

void define_neighbours(pybind11::module_& module);

}  // namespace tk::bindings
