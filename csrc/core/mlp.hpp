// Multilayer perceptron with forward-mode tangents: output and exact divergence in one pass.
//
// Every value travels with its derivatives along the d axes: C = 1 + d columns, or 1 where no divergence is wanted.
//   column 0: a = W h + b,   column k: ∂a/∂x_k = W ∂h/∂x_k;   h = σ(a),  ∂h/∂x_k = σ'(a) ∂a/∂x_k.
#pragma once

#include "arguments.hpp"
#include "math.hpp"
#include "products.hpp"

TK_BEGIN_NAMESPACE

constexpr int panel_rows = 8;  // rows of a weight matrix that are packed together

// Rows of a panel whose sums, times C columns, stay in registers together. AVX2 has 16 registers: half a panel is 1.4
// times as fast there.
#if defined(__AVX2__) && !defined(__AVX512F__)
template <int C>
constexpr int sum_rows = C > 1 ? panel_rows / 2 : panel_rows;
#else
template <int C>
constexpr int sum_rows = panel_rows;
#endif

// score = output_scale · network(x) + skip · x, with biases that hold the whole dependence on time.
template <class S>
struct MlpView {
    int dim;
    int hidden_layers;  // at least 1
    int widths[max_layers];
    Activation activation;
    const S* weights[max_layers + 1];  // first and last (rows, columns); those between packed by pack_matrix
    const S* biases;                   // (nodes, Σ widths + dim)
    const S* output_scale;             // (nodes,)
    const S* skip;                     // (nodes,)
    int bias_stride;
};

// Matrices as they come.
template <class S>
TK_HD MlpView<S> mlp_view(const MlpArguments<S>& mlp, std::int64_t dim) {
    MlpView<S> view{};
    view.dim = static_cast<int>(dim);
    view.hidden_layers = static_cast<int>(mlp.hidden_layers);
    view.activation = static_cast<Activation>(mlp.activation);
    view.biases = mlp.biases;
    view.output_scale = mlp.output_scale;
    view.skip = mlp.skip;
    view.bias_stride = view.dim;
    for (int l = 0; l <= view.hidden_layers; ++l) view.weights[l] = mlp.weights[l];
    for (int l = 0; l < view.hidden_layers; ++l) {
        view.widths[l] = static_cast<int>(mlp.widths[l]);
        view.bias_stride += view.widths[l];
    }
    return view;
}

template <class S>
TK_HD int widest(const MlpView<S>& mlp) {
    int width = 0;
    for (int l = 0; l < mlp.hidden_layers; ++l) width = mlp.widths[l] > width ? mlp.widths[l] : width;
    return width;
}

TK_HD constexpr int padded_rows(int rows) { return (rows + panel_rows - 1) / panel_rows * panel_rows; }

// Packs (rows, columns) row-major into panels of panel_rows rows: [panel][column][row of the panel], zero-padded.
template <class S>
TK_HD void pack_matrix(const S* matrix, int rows, int columns, S* packed) {
    for (int first = 0; first < rows; first += panel_rows)
        for (int column = 0; column < columns; ++column)
            for (int r = 0; r < panel_rows; ++r)
                *packed++ = first + r < rows ? matrix[static_cast<std::int64_t>(first + r) * columns + column] : S(0);
}

// σ(a) in place of a; returns σ'(a). Errors below 1.5e-7 (1 + |a|) for values, 2.5e-6 for slopes.
template <Activation Kind, class V>
TK_HD V activate(V& a) {
    using S = ScalarOf<V>;
    if constexpr (Kind == Activation::silu) {
        const V gate = sigmoid(a);
        const V value = a * gate;
        a = value;
        return gate + value * (S(1) - gate);
    } else if constexpr (Kind == Activation::tanh) {
        a = tanh(a);
        return S(1) - a * a;
    } else if constexpr (Kind == Activation::relu) {
        const auto on = a > splat<V>(0);
        a = on ? a : splat<V>(0);
        return on ? splat<V>(1) : splat<V>(0);
    } else {
        constexpr S linear = S(0.79788456080286535588);  // √(2/π)
        constexpr S cubic = S(0.044715) * linear;
        const V bounded = maximum(splat<V>(-16), minimum(splat<V>(16), a));  // tanh is ±1 beyond
        const V square = bounded * bounded;
        const V t = tanh(V(bounded * (cubic * square + linear)));
        const V half_gate = S(0.5) * t + S(0.5);
        const V slope = half_gate + (S(0.5) * bounded) * (S(1) - t * t) * (S(3) * cubic * square + linear);
        a = a * half_gate;
        return slope;
    }
}

// σ of one unit in place: its value in column 0, its derivatives in those behind.
template <Activation Kind, class V>
TK_HD void activate_unit(V* unit, int columns) {
    const V slope = activate<Kind>(unit[0]);
    for (int c = 1; c < columns; ++c) unit[c] = unit[c] * slope;
}

// σ over a layer of (width, columns) values in place.
template <Activation Kind, class V>
TK_HD void activate_layer(V* layer, int width, int columns) {
    for (int row = 0; row < width; ++row) activate_unit<Kind>(layer + row * columns, columns);
}

template <class V>
TK_HD void activate_layer(Activation kind, V* layer, int width, int columns) {
    switch (kind) {
        case Activation::silu: activate_layer<Activation::silu>(layer, width, columns); break;
        case Activation::tanh: activate_layer<Activation::tanh>(layer, width, columns); break;
        case Activation::relu: activate_layer<Activation::relu>(layer, width, columns); break;
        case Activation::gelu_tanh: activate_layer<Activation::gelu_tanh>(layer, width, columns); break;
    }
}

// Where row r of a matrix (·, fan_in) stands in panels.
template <class S>
TK_HD const S* panel_row(const S* packed, int r, int fan_in) {
    return packed + (r - r % panel_rows) * fan_in + r % panel_rows;
}

// C columns of some rows of W in onto sums that stay in registers; `packed` is the first row's.
template <int C, class V>
TK_HD void accumulate_rows(const ScalarOf<V>* packed, int fan_in, const V* in, int columns, V sums[sum_rows<C>][C]) {
    for (int i = 0; i < fan_in; ++i) {
        V value[C];
        TK_UNROLL
        for (int c = 0; c < C; ++c) value[c] = in[i * columns + c];
        add_products<sum_rows<C>, C>(packed + i * panel_rows, value, sums);
    }
}

template <int C, class V>
TK_HD void multiply_columns(const ScalarOf<V>* packed, int rows, int fan_in, const V* in, int columns, int first,
                            V* out) {
    for (int row = 0; row < rows; row += sum_rows<C>) {
        V sums[sum_rows<C>][C];
        TK_UNROLL
        for (int r = 0; r < sum_rows<C>; ++r) {
            TK_UNROLL
            for (int c = 0; c < C; ++c) sums[r][c] = V{};
        }
        accumulate_rows<C>(panel_row(packed, row, fan_in), fan_in, in + first, columns, sums);
        for (int r = 0; r < sum_rows<C> && row + r < rows; ++r) {
            TK_UNROLL
            for (int c = 0; c < C; ++c) out[(row + r) * columns + first + c] = sums[r][c];
        }
    }
}

// out = W in over all columns, three at a time: 24 accumulators.
template <class V>
TK_HD void multiply(const ScalarOf<V>* packed, int rows, int fan_in, const V* in, int columns, V* out) {
    int first = 0;
    for (; first + 3 <= columns; first += 3) multiply_columns<3>(packed, rows, fan_in, in, columns, first, out);
    if (columns - first == 2) multiply_columns<2>(packed, rows, fan_in, in, columns, first, out);
    if (columns - first == 1) multiply_columns<1>(packed, rows, fan_in, in, columns, first, out);
}

// One unit of the first layer before σ: its derivatives are its weights.
template <class V, class B>
TK_HD void first_unit(const ScalarOf<V>* weight, B bias, int dim, const V* x, bool with_divergence, V* unit) {
    V a = V{} + bias;
    for (int i = 0; i < dim; ++i) {
        a = a + weight[i] * x[i];
        if (with_divergence) unit[1 + i] = splat<V>(weight[i]);
    }
    unit[0] = a;
}

// Output i of the last layer, and of its derivatives the one along axis i; units of the layer before stand `stride`
// values apart.
template <class V, class B>
TK_HD void last_unit(const ScalarOf<V>* weight, B bias, int fan_in, const V* in, int stride, int i,
                     bool with_divergence, V& value, V& derivative) {
    V a = V{} + bias;
    V tangent{};
    for (int j = 0; j < fan_in; ++j) {
        a = a + weight[j] * in[j * stride];
        if (with_divergence) tangent = tangent + weight[j] * in[j * stride + 1 + i];
    }
    value = a;
    derivative = tangent;
}

// From the network's output and the trace of its derivatives to the score and its divergence.
template <class V, class B>
TK_HD void scale_output(B output_scale, B skip, int dim, const V* x, V trace, V* score, V& divergence) {
    for (int i = 0; i < dim; ++i) score[i] = output_scale * score[i] + skip * x[i];
    divergence = output_scale * trace + skip * static_cast<ScalarOf<V>>(dim);
}

// Scratch values that mlp_score needs.
TK_HD constexpr int mlp_scratch(int widest, int columns) { return 2 * widest * columns; }

// Score at given biases, and its divergence when asked for; `scratch` holds mlp_scratch(…) values. The numbers B of a
// time are scalars, the same for all lanes, or lanes V with a time of their own.
template <class V, class B>
TK_HD_CALL void mlp_score(const MlpView<ScalarOf<V>>& mlp, const B* bias, B output_scale, B skip, const V* x,
                          bool with_divergence, V* scratch, V* score, V& divergence) {
    const int dim = mlp.dim;
    const int columns = with_divergence ? 1 + dim : 1;
    V* in = scratch;
    V* out = scratch + widest(mlp) * columns;

    for (int row = 0; row < mlp.widths[0]; ++row)
        first_unit(mlp.weights[0] + row * dim, bias[row], dim, x, with_divergence, in + row * columns);
    activate_layer(mlp.activation, in, mlp.widths[0], columns);
    bias += mlp.widths[0];

    for (int l = 1; l < mlp.hidden_layers; ++l) {
        multiply(mlp.weights[l], mlp.widths[l], mlp.widths[l - 1], in, columns, out);
        for (int row = 0; row < mlp.widths[l]; ++row) out[row * columns] = out[row * columns] + bias[row];
        activate_layer(mlp.activation, out, mlp.widths[l], columns);
        bias += mlp.widths[l];
        V* swap = in;
        in = out;
        out = swap;
    }

    const int fan_in = mlp.widths[mlp.hidden_layers - 1];
    V trace{};
    for (int i = 0; i < dim; ++i) {
        V tangent;
        last_unit(mlp.weights[mlp.hidden_layers] + i * fan_in, bias[i], fan_in, in, columns, i, with_divergence,
                  score[i], tangent);
        trace = trace + tangent;
    }
    scale_output(output_scale, skip, dim, x, trace, score, divergence);
}

// The same at the biases of one node.
template <class V>
TK_HD void mlp_score(const MlpView<ScalarOf<V>>& mlp, std::int64_t node, const V* x, bool with_divergence, V* scratch,
                     V* score, V& divergence) {
    mlp_score(mlp, mlp.biases + node * mlp.bias_stride, mlp.output_scale[node], mlp.skip[node], x, with_divergence,
              scratch, score, divergence);
}

TK_END_NAMESPACE
