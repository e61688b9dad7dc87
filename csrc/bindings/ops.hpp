// Every op of a machine.
#pragma once

#include "gaussian_gap.hpp"
#include "hutchinson.hpp"
#include "langevin.hpp"
#include "mlp_gap.hpp"
#include "neighbours.hpp"
#include "normals.hpp"
#include "probability_flow.hpp"
#include "score.hpp"
#include "statistics.hpp"
#include "trajectory.hpp"
#include "trajectory_averages.hpp"
#include "trajectory_step.hpp"

namespace tk::bindings {

template <class Machine>
void define_ops(py::module_& module) {
#define TK_DEFINE(name, Arguments) define_##name<Machine>(module);
    TK_KERNELS(TK_DEFINE)
#undef TK_DEFINE
    define_statistics<Machine>(module);
}

}  // namespace tk::bindings
