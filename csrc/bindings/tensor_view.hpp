// A view of a tensor from Python, checked once against what a kernel expects of it: of const T where the kernel reads,
// of T where it writes.
//
// Anything with __dlpack__ will do: torch tensors, NumPy arrays. The structures below are the ABI of DLPack capsules,
// "dltensor_versioned" and, from older exporters, "dltensor": https://dmlc.github.io/dlpack/latest/c_api.html.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "memory.hpp"

namespace tk::bindings {

namespace py = pybind11;

namespace dlpack {
struct Device {
    std::int32_t type;  // 1: CPU, 2: CUDA
    std::int32_t index;
};
struct DataType {
    std::uint8_t code;  // 0: signed, 1: unsigned, 2: float
    std::uint8_t bits;
    std::uint16_t lanes;
};
struct Tensor {
    void* data;
    Device device;
    std::int32_t rank;
    DataType dtype;
    std::int64_t* sizes;
    std::int64_t* strides;  // in elements; null: contiguous
    std::uint64_t byte_offset;
};
struct ManagedTensor {
    Tensor tensor;
    void* context;
    void (*deleter)(ManagedTensor*);
};
struct VersionedTensor {
    std::uint32_t major, minor;
    void* context;
    void (*deleter)(VersionedTensor*);
    std::uint64_t flags;
    Tensor tensor;
};
constexpr std::uint32_t version = 1;
constexpr std::uint64_t is_read_only = 1;
}  // namespace dlpack

// A size that any value satisfies.
constexpr std::int64_t any_size = -1;

// Where a tensor must be: a DLPack device type, and an index or any.
struct Place {
    std::int32_t type;
    std::int32_t index;
};
constexpr std::int32_t any_device = -1;
constexpr Place on_cpu{1, any_device};

// What a tensor lends by DLPack, until this goes.
class Lent {
 public:
    Lent(const std::string& name, py::handle object);
    ~Lent() {
        if (managed_ != nullptr && managed_->deleter != nullptr) managed_->deleter(managed_);
        if (versioned_ != nullptr && versioned_->deleter != nullptr) versioned_->deleter(versioned_);
    }
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;

    const dlpack::Tensor& tensor() const { return versioned_ != nullptr ? versioned_->tensor : managed_->tensor; }
    bool is_read_only() const { return versioned_ != nullptr && (versioned_->flags & dlpack::is_read_only) != 0; }

 private:
    dlpack::ManagedTensor* managed_ = nullptr;
    dlpack::VersionedTensor* versioned_ = nullptr;
};

// Contiguous memory of dtype T and the sizes given, on the CPU if not said otherwise. Held until the view goes.
template <class T>
class TensorView {
 public:
    TensorView(const char* name, py::handle object, std::initializer_list<std::int64_t> sizes, Place place = on_cpu);

    T* data() const { return data_; }
    std::int64_t size(int axis) const { return lent_.tensor().sizes[axis]; }
    Place place() const { return {lent_.tensor().device.type, lent_.tensor().device.index}; }

 private:
    const Lent lent_;
    T* data_ = nullptr;
};

// A tensor that may be left out.
template <class T>
class OptionalView {
 public:
    OptionalView(const char* name, const py::object& object, std::initializer_list<std::int64_t> sizes,
                 Place place = on_cpu) {
        if (!object.is_none()) view_.emplace(name, object, sizes, place);
    }
    T* data() const { return view_ ? view_->data() : nullptr; }

 private:
    std::optional<TensorView<T>> view_;
};

template <class T>
constexpr dlpack::DataType dtype_of();
template <>
constexpr dlpack::DataType dtype_of<float>() {
    return {2, 32, 1};
}
template <>
constexpr dlpack::DataType dtype_of<double>() {
    return {2, 64, 1};
}

template <>
constexpr dlpack::DataType dtype_of<std::int32_t>() {
    return {0, 32, 1};
}
template <>
constexpr dlpack::DataType dtype_of<std::int64_t>() {
    return {0, 64, 1};
}

inline std::string describe(const dlpack::DataType& dtype) {
    const char* kind = dtype.code == 0 ? "int" : dtype.code == 1 ? "uint" : dtype.code == 2 ? "float" : "other";
    return kind + std::to_string(dtype.bits);
}

inline std::string describe(const std::int64_t* sizes, int rank) {
    std::string text = "(";
    for (int axis = 0; axis < rank; ++axis) {
        if (axis > 0) text += ", ";
        text += sizes[axis] == any_size ? "*" : std::to_string(sizes[axis]);
    }
    return text + (rank == 1 ? ",)" : ")");
}

inline std::string describe(const dlpack::Device& device) {
    if (device.type == 1) return "cpu";
    const std::string name = device.type == 2 ? "cuda" : "device " + std::to_string(device.type);
    return device.index == any_device ? name : name + ":" + std::to_string(device.index);
}

inline py::value_error refused(const std::string& name, const py::error_already_set& error) {
    return py::value_error(name + ": " + py::str(error.value()).cast<std::string>());
}

// A tensor's DLPack capsule. Of a device: without torch's waiting for the default stream; the caller's is used.
inline py::object capsule_of(const std::string& name, py::handle object) {
    if (!py::hasattr(object, "__dlpack__"))
        throw py::type_error(name + ": expected a tensor, got " +
                             py::str(py::type::of(object).attr("__name__")).cast<std::string>());
    py::dict options;
    if (object.attr("__dlpack_device__")().cast<std::pair<int, int>>().first == 2) options["stream"] = -1;
    const py::object lend = object.attr("__dlpack__");
    try {
        return lend(**options, py::arg("max_version") = py::make_tuple(dlpack::version, 0));
    } catch (py::error_already_set& error) {
        if (!error.matches(PyExc_TypeError)) throw refused(name, error);
    }
    try {  // of exporters that know of no versions
        return lend(**options);
    } catch (py::error_already_set& error) {
        throw refused(name, error);
    }
}

inline Lent::Lent(const std::string& name, py::handle object) {
    const py::object capsule = capsule_of(name, object);
    const bool versioned = PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned") != 0;
    void* lent = PyCapsule_GetPointer(capsule.ptr(), versioned ? "dltensor_versioned" : "dltensor");
    if (lent == nullptr) throw py::error_already_set();
    if (versioned) {
        check(static_cast<dlpack::VersionedTensor*>(lent)->major == dlpack::version,
              name + ": expected a tensor by DLPack 1, got another version");
        versioned_ = static_cast<dlpack::VersionedTensor*>(lent);
    } else {
        managed_ = static_cast<dlpack::ManagedTensor*>(lent);
    }
    PyCapsule_SetName(capsule.ptr(), versioned ? "used_dltensor_versioned" : "used_dltensor");
}

template <class T>
TensorView<T>::TensorView(const char* name, py::handle object, std::initializer_list<std::int64_t> sizes, Place place)
    : lent_(name, object) {
    const dlpack::Tensor& tensor = lent_.tensor();
    const dlpack::DataType expected = dtype_of<std::remove_const_t<T>>();
    const int rank = static_cast<int>(sizes.size());
    const bool there =
        tensor.device.type == place.type && (place.index == any_device || place.index == tensor.device.index);
    bool good = there && tensor.dtype.code == expected.code && tensor.dtype.bits == expected.bits &&
                tensor.dtype.lanes == 1 && tensor.rank == rank;
    for (int axis = 0; good && axis < rank; ++axis)
        good = sizes.begin()[axis] == any_size || sizes.begin()[axis] == tensor.sizes[axis];
    std::int64_t count = 1;
    for (int axis = 0; good && axis < rank; ++axis) count *= tensor.sizes[axis];
    bool contiguous = true;
    if (good && tensor.strides != nullptr) {
        std::int64_t stride = 1;
        for (int axis = rank - 1; axis >= 0 && count > 0; --axis) {
            contiguous = contiguous && (tensor.sizes[axis] == 1 || tensor.strides[axis] == stride);
            stride *= tensor.sizes[axis];
        }
    }
    const bool writable = std::is_const_v<T> || !lent_.is_read_only();
    if (!good || !contiguous || !writable)
        throw py::value_error(std::string(name) + ": expected " + describe(sizes.begin(), rank) + " " +
                              describe(expected) + " on " + describe(dlpack::Device{place.type, place.index}) +
                              ", got " + describe(tensor.sizes, tensor.rank) + " " + describe(tensor.dtype) + " on " +
                              describe(tensor.device) + (contiguous ? "" : ", not contiguous") +
                              (writable ? "" : ", read-only: the result cannot be written there"));
    data_ = reinterpret_cast<T*>(static_cast<char*>(tensor.data) + tensor.byte_offset);
    Memory::add(name, data_, count * static_cast<std::int64_t>(sizeof(T)), !std::is_const_v<T>);
}

}  // namespace tk::bindings
