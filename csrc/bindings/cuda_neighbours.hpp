// The neighbour kernels in thermokern._cuda.
#pragma once

#include <pybind11/pybind11.h>

namespace tk::bindings {

void define_cuda_neighbours(pybind11::module_& module);

}  // namespace tk::bindings
