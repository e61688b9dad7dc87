// Differences of the scores of a perceptron under several conditions: a few registers of points, times conditions,
// side by side, so that a matrix is read once for all of them.
//
// The first product does not know the condition and is made once; what each condition adds is a bias.
#include "../core/mlp_gap.hpp"

#include "point_columns.hpp"

TK_BEGIN_NAMESPACE

constexpr int gap_values = 6;  // registers of a row that are computed together

// Registers of points, so that with their conditions they are about gap_values.
constexpr int registers_of(int conditions) { return conditions < gap_values ? gap_values / conditions : 1; }

// All matrices in panels.
template <class S>
class PackedLayers {
 public:
    explicit PackedLayers(const MlpView<S>& mlp) : view_(mlp), packed_(packed_size(mlp)) {
        S* to = packed_.get();
        for (int l = 0; l <= mlp.hidden_layers; ++l) {
            pack_matrix(mlp.weights[l], rows(mlp, l), fan_in(mlp, l), to);
            view_.weights[l] = to;
            to += padded_rows(rows(mlp, l)) * fan_in(mlp, l);
        }
    }
    const MlpView<S>& view() const { return view_; }
    int rows(int layer) const { return rows(view_, layer); }
    int fan_in(int layer) const { return fan_in(view_, layer); }
    int widest_layer() const { return widest(view_) > view_.dim ? widest(view_) : view_.dim; }
    // out = W in, both (·, columns).
    void multiply_layer(int layer, const Native<S>* in, int columns, Native<S>* out) const {
        multiply(view_.weights[layer], rows(layer), fan_in(layer), in, columns, out);
    }
    // Operations of a point.
    double work(int conditions) const {
        double products = 0, units = 0;
        for (int l = 0; l <= view_.hidden_layers; ++l) {
            products += static_cast<double>(rows(l)) * fan_in(l);
            units += rows(l);
        }
        return conditions * (2 * products + 40 * units);
    }

 private:
    static int rows(const MlpView<S>& mlp, int layer) {
        return layer < mlp.hidden_layers ? mlp.widths[layer] : mlp.dim;
    }
    static int fan_in(const MlpView<S>& mlp, int layer) { return layer > 0 ? mlp.widths[layer - 1] : mlp.dim; }
    static std::int64_t packed_size(const MlpView<S>& mlp) {
        std::int64_t size = 0;
        for (int l = 0; l <= mlp.hidden_layers; ++l) size += padded_rows(rows(mlp, l)) * fan_in(mlp, l);
        return size;
    }

    MlpView<S> view_;
    Buffer<S> packed_;
};

template <class S>
struct MlpGapTile {
    using V = Native<S>;
    const MlpGapArguments<S>& a;
    const PackedLayers<S>& layers;
    int registers, columns;           // of points; times conditions
    V *noise, *inputs;                // (dim, registers)
    V *values, *next, *kept, *first;  // (rows, columns), the last (rows, registers)

    static std::int64_t scratch(std::int64_t dim, int widest_layer, int registers, int columns) {
        return 2 * dim * registers + static_cast<std::int64_t>(widest_layer) * (3 * columns + registers);
    }
    MlpGapTile(const MlpGapArguments<S>& arguments, const PackedLayers<S>& packed, int of_points, int all, V* from)
        : a(arguments), layers(packed), registers(of_points), columns(all) {
        const std::int64_t points = a.dim * registers, layer = static_cast<std::int64_t>(layers.widest_layer());
        noise = from;
        inputs = noise + points;
        values = inputs + points;
        next = values + layer * columns;
        kept = next + layer * columns;
        first = kept + layer * columns;
    }

    GapLevel<V> level(std::int64_t row) const {
        return {points_at(a.mean_scale, row, a.n), points_at(a.root, row, a.n)};
    }
    V reference_gain(const GapLevel<V>& at) const { return at.gain(splat<V>(a.reference)); }
    MlpGapAxis<V> axis(const GapLevel<V>& at, V gain, int i, int r, std::int64_t row) const {
        return {at, points_at(a.from_centre + i * a.n, row, a.n), a.centre[i], noise[i * registers + r], gain};
    }

    // Biases of a layer, and what two layers before kept, onto its products.
    void add_biases(int layer, std::int64_t start, V* to) const {
        const int rows = layers.rows(layer), conditions = static_cast<int>(a.conditions);
        const bool with_kept = adds_kept(a.residual, layer);
        for (int condition = 0; condition < conditions; ++condition) {
            for (int row = 0; row < rows; ++row) {
                const std::int64_t place = row * columns + condition * registers;
                const S* own = a.biases[layer] + (static_cast<std::int64_t>(condition) * rows + row) * a.n;
                for (int r = 0; r < registers; ++r) {
                    V bias = a.own_biases[layer] ? points_at(own, start + r * lanes<S>, a.n)
                                                 : splat<V>(a.biases[layer][row]);
                    if (with_kept) bias = bias + kept[place + r];
                    to[place + r] = to[place + r] + bias;
                }
            }
        }
    }

    void operator()(std::int64_t start) {
        const int dim = static_cast<int>(a.dim), conditions = static_cast<int>(a.conditions);
        for (int r = 0; r < registers; ++r) {
            const std::int64_t row = start + r * lanes<S>;
            const GapLevel<V> at = level(row);
            make_noise<S>(a, row, registers, noise + r);
            for (int i = 0; i < dim; ++i)
                inputs[i * registers + r] = points_at(a.enter + i * a.n, row, a.n) * axis(at, V{}, i, r, row).apart;
        }
        layers.multiply_layer(0, inputs, registers, first);
        for (int row = 0; row < layers.rows(0); ++row)
            for (int condition = 0; condition < conditions; ++condition)
                for (int r = 0; r < registers; ++r)
                    values[row * columns + condition * registers + r] = first[row * registers + r];
        add_biases(0, start, values);
        for (int l = 1; l <= layers.view().hidden_layers; ++l) {
            const int size = layers.rows(l - 1) * columns;
            if (keeps(a.residual, l - 1))
                for (int i = 0; i < size; ++i) kept[i] = values[i];
            activate_values(layers.view().activation, values, size);
            layers.multiply_layer(l, values, columns, next);
            add_biases(l, start, next);
            V* swap = values;
            values = next;
            next = swap;
        }
        for (int r = 0; r < registers && start + r * lanes<S> < a.n; ++r) compare(start + r * lanes<S>, r);
    }

    // Sums over axes of each condition and the last, from the outputs in `values`.
    void compare(std::int64_t row, int r) const {
        const int dim = static_cast<int>(a.dim), last = static_cast<int>(a.conditions) - 1;
        const int pairs = gap_pairs(last + 1);
        const GapLevel<V> at = level(row);
        const V gain = reference_gain(at);
        for (int pair = 0; pair < pairs; ++pair) {
            GapSums<V> sums;
            for (int i = 0; i < dim; ++i) {
                const MlpGapAxis<V> x = axis(at, gain, i, r, row);
                const V scale = points_at(a.scale + i * a.n, row, a.n), skip = points_at(a.skip + i * a.n, row, a.n);
                const auto score = [&](int condition) {
                    return x.score(scale, values[i * columns + condition * registers + r], skip);
                };
                sums.add(score(pair), last > 0 ? score(last) : x.reference, x.noise, x.reference);
            }
            const V found[gap_columns] = {sums.gap, sums.loss, sums.difference};
            for (int k = 0; k < gap_columns; ++k)
                put_points<S>(S(0.5) * found[k], a.out + (k * pairs + pair) * a.n, row, a.n);
        }
    }
};

template <class S>
bool mlp_gap(const MlpGapArguments<S>& a, int threads, Interrupt interrupt) {
    if (a.n == 0) return true;
    const PackedLayers<S> layers(mlp_view(a.mlp, a.dim));
    const int conditions = static_cast<int>(a.conditions), registers = registers_of(conditions);
    const int columns = registers * conditions;
    const std::int64_t size = MlpGapTile<S>::scratch(a.dim, layers.widest_layer(), registers, columns);
    const Buffer<Native<S>> scratch(threads * size);
    return for_each_stretch(a.n, registers * lanes<S>, layers.work(conditions), threads, interrupt,
                            [&](std::int64_t first, int thread) {
                                Native<S>* own = scratch.get() + thread * size;
                                MlpGapTile<S>(a, layers, registers, columns, own)(first);
                            });
}

template bool mlp_gap(const MlpGapArguments<float>&, int, Interrupt);
template bool mlp_gap(const MlpGapArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
