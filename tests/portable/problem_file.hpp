// Reads what record.py wrote: calls of kernels with their arguments, and what the outputs should be.
#pragma once

#include <cmath>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

struct Array {
    char type = 'd';  // f, d, i or l, as record.py names them
    std::vector<std::int64_t> sizes;
    std::vector<std::uint64_t> bytes;  // aligned for every type
    bool output = false;
    std::vector<double> reference, bounds;  // of an output; empty where none is known

    std::int64_t count() const {
        std::int64_t product = 1;
        for (const std::int64_t size : sizes) product *= size;
        return product;
    }
    std::int64_t size(std::size_t axis) const { return sizes.at(axis); }
    template <class T>
    T* data() {
        return bytes.empty() ? nullptr : reinterpret_cast<T*>(bytes.data());
    }
    double at(std::int64_t i) {
        switch (type) {
            case 'f': return static_cast<double>(data<float>()[i]);
            case 'i': return data<std::int32_t>()[i];
            case 'l': return static_cast<double>(data<std::int64_t>()[i]);
            default: return data<double>()[i];
        }
    }
};

// One argument. Which of the members holds it follows from the kernel that is called.
struct Value {
    std::int64_t integer = 0;
    double number = 0;
    std::string text;
    std::vector<Value> list;
    Array array;
};

struct Call {
    std::string kernel;
    bool is_double = false;
    std::vector<Value> arguments;
};

class ProblemFile {
 public:
    explicit ProblemFile(const char* path) : file_(path, std::ios::binary) {
        if (!file_) throw std::runtime_error(std::string("cannot read ") + path);
    }

    // False at the end of the file.
    bool next(Call& call) {
        std::string line;
        if (!std::getline(file_, line)) return false;
        std::istringstream words(line);
        std::string head, type;
        std::size_t count;
        if (!(words >> head >> call.kernel >> type >> count) || head != "call")
            throw std::runtime_error("expected a call, got: " + line);
        call.is_double = type == "d";
        call.arguments.assign(count, {});
        for (Value& value : call.arguments) read(value);
        return true;
    }

 private:
    void read(Value& value) {
        std::string line, head;
        std::getline(file_, line);
        std::istringstream words(line);
        words >> head;
        if (head == "int") {
            words >> value.integer;
        } else if (head == "number") {
            std::string number;  // of a stream, inf would not be a number
            words >> number;
            value.number = std::stod(number);
        } else if (head == "text") {
            words >> value.text;
        } else if (head == "list") {
            std::size_t count;
            words >> count;
            value.list.assign(count, {});
            for (Value& part : value.list) read(part);
        } else if (head == "input" || head == "output") {
            value.array.output = head == "output";
            read_array(words, value.array);
        } else if (head != "none") {
            throw std::runtime_error("expected a value, got: " + line);
        }
    }

    void read_array(std::istringstream& words, Array& array) {
        std::string word;
        words >> array.type;
        while (words >> word && word != "within") array.sizes.push_back(std::stoll(word));
        while (words >> word) array.bounds.push_back(std::stod(word));
        const std::int64_t width = array.type == 'f' || array.type == 'i' ? 4 : 8, size = array.count() * width;
        array.bytes.assign(static_cast<std::size_t>((size + 7) / 8), ~std::uint64_t{0});  // NaN until it is written
        if (!array.output) file_.read(reinterpret_cast<char*>(array.bytes.data()), size);
        if (array.bounds.empty()) return;
        array.reference.resize(static_cast<std::size_t>(array.count()));
        file_.read(reinterpret_cast<char*>(array.reference.data()), 8 * array.count());
    }

    std::ifstream file_;
};
