// Hutchinson's contraction v·p of a product p = J v with its probe v, for the three kinds of probes.
#pragma once

#include "lanes.hpp"

TK_BEGIN_NAMESPACE

// Sums over components, from the standard normals z that the probe is made of: v = sign z (Rademacher, zero counted as
// positive), v = z (Gaussian), v = √d z/|z| (uniform on the sphere of radius √d).
template <class V>
struct ProbeSums {
    V product{};  // Σ v p, before the sphere's scale
    V square{};   // Σ z²

    TK_HD void add_sign(V z, V p) { product = product + (z < ScalarOf<V>(0) ? V(-p) : p); }
    TK_HD void add_normal(V z, V p) {
        product = product + z * p;
        square = square + z * z;
    }
    TK_HD void add(const ProbeSums& other) {
        product = product + other.product;
        square = square + other.square;
    }
};

TK_END_NAMESPACE
