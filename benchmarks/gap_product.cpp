// The dense product of ops.gaussian_gap alone, on points that stay in the first cache. limits.py builds it.
#include "../csrc/cpu/gap_panels.hpp"

TK_BEGIN_NAMESPACE

// `repeats` products of a dim × dim matrix; returns how many operations they took, without those of padding.
extern "C" double gap_product(int dim, long repeats, float* kept) {
    using V = Native<float>;
    const Buffer<V> in(dim * gap_registers), out(dim * gap_registers);
    for (int i = 0; i < dim * gap_registers; ++i) in.get()[i] = splat<V>(0.1f * static_cast<float>(i));
    with_panels(dim, [&](auto panels) {
        using P = decltype(panels);
        const Buffer<float> matrix(P::padded(dim) * dim);
        P::pack(dim, matrix.get(), [](int row, int column) { return static_cast<float>(row - column); });
        const auto put = [&](int row, int c, V sum) { out.get()[row * gap_registers + c] = sum; };
        for (long k = 0; k < repeats; ++k) {
            P::multiply(matrix.get(), dim, in.get(), put, Nothing{});
            asm volatile("" ::: "memory");  // every product is made
        }
    });
    *kept = out.get()[0][0];
    return 2.0 * dim * dim * gap_registers * lanes<float> * static_cast<double>(repeats);
}

TK_END_NAMESPACE
