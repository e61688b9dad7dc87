#pragma once

#include <pybind11/pybind11.h>

namespace tk::bindings {

void define_langevin(pybind11::module_& module);

}  // namespace tk::bindings
