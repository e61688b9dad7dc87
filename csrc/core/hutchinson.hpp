// Hutchinson's contraction v·p of a product p = J v with its probe v, for the three kinds of probes.
#pragma once

#include "arguments.hpp"
#include "lanes.hpp"

TK_BEGIN_NAMESPACE

// Sums over components, from the standard normals z that the probe is made of: v = sign z (Rademacher, zero counted as
// positive), v = z (Gaussian), v = √d z/|z| (uniform on the sphere of radius √d).
template <class V>
struct HutchinsonSums {
    V product{};  // Σ v p, before the sphere's scale
    V square{};   // Σ z²

    TK_HD void add(Probe kind, V z, V p) {
        if (kind == Probe::rademacher) {
            product = product + (z < ScalarOf<V>(0) ? V(-p) : p);
        } else {
            product = product + z * p;
            square = square + z * z;
        }
    }
    TK_HD void add(const HutchinsonSums& other) {
        product = product + other.product;
        square = square + other.square;
    }
    // The contraction, once the sums are those of all dim components.
    TK_HD V finish(Probe kind, std::int64_t dim) const {
        const V scale = kind == Probe::sphere ? square_root(static_cast<V>(dim) / square) : V(1);
        return scale * product;
    }
};

TK_END_NAMESPACE
