// Products of matrices by tensor cores: a warp multiplies 32 rows of a matrix with 32 columns of units.
//
// An instruction makes C ← A B + C for A of 16 × depth, B of depth × 8 and C of 16 × 8 numbers, which the lanes of a
// warp share (PTX ISA, "Matrix fragments for mma.m16n8k8" and "…m16n8k16"). With lane = 4 g + t, a lane holds
//   of A, word r: row g + 8 (r % 2),  of B, word r: column g,  both numbers `per_word` (t + 4 h) … of the depth,
//                 h = r / 2,                        h = r,
//   of C, number r: row g + 8 (r / 2), column 2 t + r % 2.
// Operands are rounded to TF32 or bfloat16; products are exact and added up in float32, where the hardware truncates
// what it adds: Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science
// 7:e330 (2021). Three products of split operands give float32's accuracy if they are added up outside, where sums are
// rounded to nearest: Ootomo and Yokota, "Recovering single precision accuracy from Tensor Cores while surpassing the
// FP32 theoretical peak performance", IJHPCA 36 (2022).
#pragma once

#include "../core/arguments.hpp"
#include "../core/narrow.hpp"
#include "device.cuh"

namespace tk::cuda {

constexpr int warp_lanes = 32, warp_rows = 32, warp_columns = 32;
constexpr int mma_rows = 16, mma_columns = 8;

struct Tf32 {
    static constexpr int per_word = 1, depth = 8;
    static TK_HD std::uint32_t word(const float* from, int) { return bit_cast<std::uint32_t>(round_to_tf32(*from)); }
};
struct Bfloat16 {
    static constexpr int per_word = 2, depth = 16;
    static TK_HD std::uint32_t word(const float* from, int step) {
        return bfloat16_bits(from[0]) | bfloat16_bits(from[step]) << 16;
    }
};

// C ← A B + C, a whole warp together. Kernels for devices below compute capability 8.0 have no such instruction and are
// not launched: tensor_trajectory.cu.
template <class Format>
__device__ __forceinline__ void multiply_add(const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], float (&c)[4]) {
#if !defined(__CUDACC__)
    tk::emulator::multiply_add<Format::per_word>(a, b, c);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    if constexpr (Format::per_word == 1)
        asm volatile(
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    else
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#elif defined(__CUDA_ARCH__)
    __trap();
#endif
}

// A lane's words of 16 rows of a matrix, as many columns as an instruction takes; numbers of float32 where they are yet
// to be split.
struct alignas(16) MatrixWords {
    std::uint32_t of[4];
};

// A matrix in shares of lanes: [rows / 16][columns / depth][lane], rows up to the next 32, with zeros beyond its ends.
struct MatrixShares {
    int rows, columns, steps, count;
};
TK_HD constexpr int product_depth(Products products) {
    return products == Products::bf16 ? Bfloat16::depth : Tf32::depth;
}
TK_HD constexpr MatrixShares matrix_shares(Products products, int rows, int columns) {
    const int steps = (columns + product_depth(products) - 1) / product_depth(products);
    return {rows, columns, steps, (rows + warp_rows - 1) / warp_rows * warp_rows / mma_rows * steps * warp_lanes};
}

// Share `place` of a matrix (rows, columns).
template <class Format, bool Split>
TK_HD MatrixWords matrix_words(const float* matrix, const MatrixShares& shares, int place) {
    const int lane = place % warp_lanes, tile = place / warp_lanes;
    MatrixWords words;
    TK_UNROLL
    for (int r = 0; r < 4; ++r) {
        const int row = tile / shares.steps * mma_rows + lane / 4 + 8 * (r % 2);
        const int column = tile % shares.steps * Format::depth + Format::per_word * (lane % 4 + 4 * (r / 2));
        float numbers[2];
        TK_UNROLL
        for (int i = 0; i < 2; ++i)
            numbers[i] =
                row < shares.rows && column + i < shares.columns ? matrix[row * shares.columns + column + i] : 0.0f;
        words.of[r] = Split ? bit_cast<std::uint32_t>(numbers[0]) : Format::word(numbers, 1);
    }
    return words;
}
TK_HD MatrixWords matrix_words(Products products, const float* matrix, const MatrixShares& shares, int place) {
    if (products == Products::bf16) return matrix_words<Bfloat16, false>(matrix, shares, place);
    if (products == Products::tf32) return matrix_words<Tf32, false>(matrix, shares, place);
    return matrix_words<Tf32, true>(matrix, shares, place);
}

// A number as TF32 and the TF32 of what is left.
TK_HD void split_words(float number, std::uint32_t& big, std::uint32_t& small) {
    const float nearest = round_to_tf32(number);
    big = bit_cast<std::uint32_t>(nearest);
    small = bit_cast<std::uint32_t>(round_to_tf32(number - nearest));
}

// What a lane holds of 32 × 32 sums: [sixteen rows][eight columns][number of C].
using WarpSums = float[warp_rows / mma_rows][warp_columns / mma_columns][4];

// sums ← W U over the whole depth of `steps` instructions, for 32 rows of shares and 32 columns of units, whose rows
// stand `stride` numbers apart. Units are read to the end of the last step.
template <class Format, bool Split>
__device__ __forceinline__ void multiply_warp(const MatrixWords* shares, int steps, const float* units, int stride,
                                              WarpSums& sums) {
    const int lane = static_cast<int>(threadIdx.x) % warp_lanes, group = lane / 4, place = lane % 4;
    shares += lane;
    units += Format::per_word * place * stride + group;
    for (int step = 0; step < steps; ++step, shares += warp_lanes, units += Format::depth * stride) {
        MatrixWords matrix[2] = {shares[0], shares[steps * warp_lanes]}, left[2];
        if constexpr (Split) {
            TK_UNROLL
            for (int i = 0; i < 2; ++i) {
                TK_UNROLL
                for (int r = 0; r < 4; ++r)
                    split_words(bit_cast<float>(matrix[i].of[r]), matrix[i].of[r], left[i].of[r]);
            }
        }
        TK_UNROLL
        for (int j = 0; j < warp_columns / mma_columns; ++j) {
            std::uint32_t of_units[2], left_of_units[2];
            TK_UNROLL
            for (int h = 0; h < 2; ++h) {
                const float* const from = units + Format::per_word * 4 * h * stride + mma_columns * j;
                if constexpr (Split)
                    split_words(*from, of_units[h], left_of_units[h]);
                else
                    of_units[h] = Format::word(from, stride);
            }
            TK_UNROLL
            for (int i = 0; i < 2; ++i) {
                if constexpr (Split) {
                    float part[4] = {};
                    multiply_add<Format>(left[i].of, of_units, part);
                    multiply_add<Format>(matrix[i].of, left_of_units, part);
                    multiply_add<Format>(matrix[i].of, of_units, part);
                    TK_UNROLL
                    for (int r = 0; r < 4; ++r) sums[i][j][r] = sums[i][j][r] + part[r];
                } else {
                    multiply_add<Format>(matrix[i].of, of_units, sums[i][j]);
                }
            }
        }
    }
}

__device__ __forceinline__ void multiply_warp(Products products, const MatrixWords* shares, int steps,
                                              const float* units, int stride, WarpSums& sums) {
    switch (products) {
        case Products::fp32: break;
        case Products::tf32x3: return multiply_warp<Tf32, true>(shares, steps, units, stride, sums);
        case Products::tf32: return multiply_warp<Tf32, false>(shares, steps, units, stride, sums);
        case Products::bf16: return multiply_warp<Bfloat16, false>(shares, steps, units, stride, sums);
    }
}

// body(row, column, sum) for each of a lane's sums.
template <class Body>
__device__ __forceinline__ void for_each_sum(const WarpSums& sums, const Body& body) {
    const int lane = static_cast<int>(threadIdx.x) % warp_lanes;
    TK_UNROLL
    for (int i = 0; i < warp_rows / mma_rows; ++i) {
        TK_UNROLL
        for (int j = 0; j < warp_columns / mma_columns; ++j) {
            TK_UNROLL
            for (int r = 0; r < 4; ++r)
                body(mma_rows * i + lane / 4 + 8 * (r / 2), mma_columns * j + 2 * (lane % 4) + r % 2, sums[i][j][r]);
        }
    }
}

}  // namespace tk::cuda
