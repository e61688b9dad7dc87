// Averages over paths, the probability-flow equation and Langevin paths, in thermokern._cuda.
#pragma once

#include <pybind11/pybind11.h>

namespace tk::bindings {

void define_cuda_paths(pybind11::module_& module);

}  // namespace tk::bindings
