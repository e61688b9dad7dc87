// Differences of the scores of a perceptron under several conditions: a few registers of points at a time go through
// the network once for each condition.
//
// What all conditions of a point share, the first product and all that the level gives, is made once, and the sums of
// every condition start from there.
#include "../core/mlp_gap.hpp"

#include "point_columns.hpp"

TK_BEGIN_NAMESPACE

// A layer, its matrices in panels and everything padded to whole panels.
template <class S>
struct GapLayer {
    int rows, fan_in;
    const S *weights, *context, *biases;
    bool sees;    // level and condition
    bool starts;  // from what is the same under all conditions
};

template <class S>
class GapLayers {
 public:
    explicit GapLayers(const MlpGapArguments<S>& a)
        : count_(static_cast<int>(a.mlp.hidden_layers) + 1),
          context_(static_cast<int>(a.level_size + a.condition_size)),
          packed_(size_of(a)) {
        S* to = packed_.get();
        const auto pack = [&to](const S* matrix, int rows, int columns) {
            const S* const packed = to;
            pack_matrix(matrix, rows, columns, to);
            to += padded_rows(rows) * columns;
            return packed;
        };
        for (int l = 0; l < count_; ++l) {
            GapLayer<S>& layer = layers_[l];
            layer.rows = rows_of(a, l);
            layer.fan_in = fan_in_of(a, l);
            layer.sees = a.context[l] != nullptr;
            layer.starts = l == 0 || (layer.sees && a.level_size > 0);
            layer.weights = pack(a.mlp.weights[l], layer.rows, layer.fan_in);
            layer.context = layer.sees ? pack(a.context[l], layer.rows, context_) : nullptr;
            const int rows = padded_rows(layer.rows);
            layer.biases = a.biases[l];
            if (rows > widest_) widest_ = rows;
            if (layer.starts) starts_ += rows;
            products_ += static_cast<double>(rows) * (layer.fan_in + (layer.sees ? context_ : 0));
            units_ += rows;
        }
    }
    const GapLayer<S>& operator[](int layer) const { return layers_[layer]; }
    int count() const { return count_; }
    int context() const { return context_; }
    int widest_layer() const { return widest_; }
    int starts() const { return starts_; }  // rows of all layers that start from something
    // Operations of a point.
    double work(std::int64_t conditions) const {
        return static_cast<double>(conditions) * (2 * products_ + 40 * units_);
    }

 private:
    static int rows_of(const MlpGapArguments<S>& a, int layer) {
        return static_cast<int>(layer < a.mlp.hidden_layers ? a.mlp.widths[layer] : a.dim);
    }
    static int fan_in_of(const MlpGapArguments<S>& a, int layer) {
        return static_cast<int>(layer > 0 ? a.mlp.widths[layer - 1] : a.dim);
    }
    static std::int64_t size_of(const MlpGapArguments<S>& a) {
        std::int64_t size = 0;
        for (int l = 0; l <= a.mlp.hidden_layers; ++l)
            size += padded_rows(rows_of(a, l)) * (fan_in_of(a, l) + a.level_size + a.condition_size);
        return size;
    }

    GapLayer<S> layers_[max_layers + 1];
    int count_, context_, widest_ = 0, starts_ = 0;
    double products_ = 0, units_ = 0;
    Buffer<S> packed_;
};

template <class S>
struct MlpGapTile {
    using V = Native<S>;
    static constexpr int registers = 3, height = sum_rows<registers>;  // of points side by side; rows summed at once
    using Sums = V[height][registers];
    const MlpGapArguments<S>& a;
    const GapLayers<S>& layers;
    V *noise, *inputs, *level, *condition;  // (numbers, registers)
    V *starts, *values, *next, *kept;       // (rows, registers)
    V* outputs;                             // (conditions, padded dim, registers)

    static std::int64_t scratch(const MlpGapArguments<S>& a, const GapLayers<S>& layers) {
        return registers * (2 * a.dim + layers.context() + layers.starts() + 3 * layers.widest_layer() +
                            a.conditions * padded_rows(static_cast<int>(a.dim)));
    }
    MlpGapTile(const MlpGapArguments<S>& arguments, const GapLayers<S>& packed, V* from)
        : a(arguments), layers(packed) {
        const auto take = [&from](std::int64_t rows) {
            V* const taken = from;
            from += rows * registers;
            return taken;
        };
        noise = take(a.dim), inputs = take(a.dim);
        level = take(a.level_size), condition = take(a.condition_size);
        starts = take(layers.starts());
        values = take(layers.widest_layer()), next = take(layers.widest_layer()), kept = take(layers.widest_layer());
        outputs = take(0);
    }

    GapLevel<V> level_at(std::int64_t row) const {
        return {points_at(a.mean_scale, row, a.n), points_at(a.root, row, a.n)};
    }
    MlpGapAxis<V> axis(const GapLevel<V>& at, V gain, int i, int r, std::int64_t row) const {
        return {at, points_at(a.from_centre + i * a.n, row, a.n), a.centre[i], noise[i * registers + r], gain};
    }
    // Numbers (count, n) of the points from `start` on.
    void read(const S* numbers, std::int64_t count, std::int64_t start, V* to) const {
        for (std::int64_t i = 0; i < count; ++i)
            for (int r = 0; r < registers; ++r)
                to[i * registers + r] = points_at(numbers + i * a.n, start + r * lanes<S>, a.n);
    }

    void operator()(std::int64_t start) {
        const int dim = static_cast<int>(a.dim), outputs_rows = padded_rows(dim);
        for (int r = 0; r < registers; ++r) {
            const std::int64_t row = start + r * lanes<S>;
            const GapLevel<V> at = level_at(row);
            make_noise<S>(a, row, registers, noise + r);
            for (int i = 0; i < dim; ++i)
                inputs[i * registers + r] = points_at(a.enter + i * a.n, row, a.n) * axis(at, V{}, i, r, row).apart;
        }
        read(a.level, a.level_size, start, level);
        make_starts();
        for (std::int64_t c = 0; c < a.conditions; ++c) {
            read(a.condition + c * a.condition_size * a.n, a.condition_size, start, condition);
            const V* from = starts;
            for (int l = 0; l < layers.count(); ++l) {
                make_layer(l, from, l + 1 < layers.count() ? next : outputs + c * outputs_rows * registers);
                if (layers[l].starts) from += padded_rows(layers[l].rows) * registers;
                V* const swap = values;
                values = next;
                next = swap;
            }
        }
        for (int r = 0; r < registers && start + r * lanes<S> < a.n; ++r) compare(start + r * lanes<S>, r);
    }

    // The first product and the level's parts.
    void make_starts() const {
        V* to = starts;
        for (int l = 0; l < layers.count(); ++l) {
            const GapLayer<S>& layer = layers[l];
            if (!layer.starts) continue;
            for (int row = 0; row < padded_rows(layer.rows); row += height) {
                Sums sums = {};
                if (l == 0)
                    accumulate_rows<registers>(panel_row(layer.weights, row, layer.fan_in), layer.fan_in, inputs,
                                               registers, sums);
                if (layer.sees)
                    accumulate_rows<registers>(panel_row(layer.context, row, layers.context()),
                                               static_cast<int>(a.level_size), level, registers, sums);
                put(sums, to);
                to += height * registers;
            }
        }
    }

    // A layer under one condition, from where its sums start and the `values` below it.
    void make_layer(int l, const V* from, V* out) const {
        const GapLayer<S>& layer = layers[l];
        const int conditions = static_cast<int>(a.condition_size);
        for (int row = 0; row < padded_rows(layer.rows); row += height) {
            Sums sums;
            for (int r = 0; r < height; ++r)
                for (int c = 0; c < registers; ++c) sums[r][c] = layer.starts ? from[(row + r) * registers + c] : V{};
            if (layer.sees)
                accumulate_rows<registers>(panel_row(layer.context, row, layers.context()) + a.level_size * panel_rows,
                                           conditions, condition, registers, sums);
            if (l > 0)
                accumulate_rows<registers>(panel_row(layer.weights, row, layer.fan_in), layer.fan_in, values, registers,
                                           sums);
            V* const beside = kept + row * registers;
            add_rest(layer, row, adds_kept(a.residual, l) ? beside : nullptr, sums);
            put(sums, out + row * registers);
            if (keeps(a.residual, l)) put(sums, beside);
        }
        // All units at once: a processor overlaps what it makes of one number with the next.
        if (l + 1 < layers.count())
            activate_values(static_cast<Activation>(a.mlp.activation), out, padded_rows(layer.rows) * registers);
    }

    // A layer's biases, and what was kept if anything was.
    static void add_rest(const GapLayer<S>& layer, int row, const V* beside, Sums& sums) {
        for (int r = 0; r < height && row + r < layer.rows; ++r) {
            const V bias = splat<V>(layer.biases[row + r]);
            for (int c = 0; c < registers; ++c)
                sums[r][c] = sums[r][c] + (beside == nullptr ? bias : bias + beside[r * registers + c]);
        }
    }

    static void put(const Sums& sums, V* to) {
        for (int r = 0; r < height; ++r)
            for (int c = 0; c < registers; ++c) to[r * registers + c] = sums[r][c];
    }

    // Sums over axes of each condition and the last, from the outputs.
    void compare(std::int64_t row, int r) const {
        const int dim = static_cast<int>(a.dim), last = static_cast<int>(a.conditions) - 1;
        const int pairs = gap_pairs(last + 1);
        const GapLevel<V> at = level_at(row);
        const V gain = at.gain(splat<V>(a.reference));
        for (int pair = 0; pair < pairs; ++pair) {
            GapSums<V> sums;
            for (int i = 0; i < dim; ++i) {
                const MlpGapAxis<V> x = axis(at, gain, i, r, row);
                const V scale = points_at(a.scale + i * a.n, row, a.n), skip = points_at(a.skip + i * a.n, row, a.n);
                const auto score = [&](int condition) {
                    return x.score(scale, outputs[(condition * padded_rows(dim) + i) * registers + r], skip);
                };
                sums.add(score(pair), last > 0 ? score(last) : x.reference, x.noise, x.reference);
            }
            const V found[gap_columns] = {sums.gap(), sums.loss(), sums.difference()};
            for (int k = 0; k < gap_columns; ++k) put_points<S>(found[k], a.out + (k * pairs + pair) * a.n, row, a.n);
        }
    }
};

template <class S>
bool mlp_gap(const MlpGapArguments<S>& a, int threads, Interrupt interrupt) {
    if (a.n == 0) return true;
    using Tile = MlpGapTile<S>;
    const GapLayers<S> layers(a);
    const std::int64_t size = Tile::scratch(a, layers);
    const Buffer<Native<S>> scratch(threads * size);
    return for_each_stretch(
        a.n, Tile::registers * lanes<S>, layers.work(a.conditions), threads, interrupt,
        [&](std::int64_t first, int thread) { Tile(a, layers, scratch.get() + thread * size)(first); });
}

template bool mlp_gap(const MlpGapArguments<float>&, int, Interrupt);
template bool mlp_gap(const MlpGapArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
