// Products of a square matrix and a few registers of points side by side, whose sums stay in registers.
#pragma once

#include "../core/products.hpp"
#include "schedule.hpp"

TK_BEGIN_NAMESPACE

// Registers of points, and rows of a panel: their products are summed in registers, 32 of AVX-512 and 16 of others.
constexpr int gap_registers = register_bytes == 64 ? 3 : 2;
constexpr int most_rows = register_bytes == 64 ? 8 : 6, least_rows = register_bytes == 64 ? 5 : 4;

// What a product calls meanwhile, if nothing.
struct Nothing {
    TK_HD void operator()(int, int) const {}
};

// Square matrices in panels of `Rows` rows, [panel][column][row of the panel], zero-padded.
template <int Rows>
struct Panels {
    static constexpr int rows = Rows;
    static constexpr int padded(int dim) { return (dim + Rows - 1) / Rows * Rows; }

    // Entry (r, c) of the matrix is entry(r, c).
    template <class S, class Entry>
    static void pack(int dim, S* packed, const Entry& entry) {
        for (int first = 0; first < dim; first += Rows)
            for (int column = 0; column < dim; ++column)
                for (int r = 0; r < Rows; ++r) *packed++ = first + r < dim ? entry(first + r, column) : S(0);
    }

    // finish(r, c, (M in)(r, c)) for each row and register of points, `in` being (dim, gap_registers), and
    // meanwhile(panel, column) at every column of every panel.
    template <class S, class Finish, class Meanwhile>
    static TK_HD void multiply(const S* packed, int dim, const Native<S>* in, const Finish& finish,
                               const Meanwhile& meanwhile) {
        for (int first = 0; first < dim; first += Rows, packed += Rows * dim) {
            Native<S> sums[Rows][gap_registers] = {};
            for (int i = 0; i < dim; ++i) {
                meanwhile(first / Rows, i);
                add_products<Rows, gap_registers>(packed + i * Rows, in + i * gap_registers, sums);
            }
            TK_UNROLL
            for (int r = 0; r < Rows; ++r) {
                if (first + r >= dim) break;
                TK_UNROLL
                for (int c = 0; c < gap_registers; ++c) finish(first + r, c, sums[r][c]);
            }
        }
    }
};

// body(Panels) with the panels that leave least to padding, the largest of them.
template <int Rows = most_rows, class Body>
auto with_panels(int dim, const Body& body) {
    if constexpr (Rows > least_rows)
        for (int rows = least_rows; rows < Rows; ++rows)
            if ((dim + rows - 1) / rows * rows < Panels<Rows>::padded(dim)) return with_panels<Rows - 1>(dim, body);
    return body(Panels<Rows>{});
}

TK_END_NAMESPACE
