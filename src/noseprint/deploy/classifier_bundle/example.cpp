// Classes of photographs: example BUNDLE A.ppm B.ppm, or example BUNDLE --check. BUNDLE is the folder of this file.
//
// It prints a line for each photograph, separated by tabs: file, class, probability, and "cannot tell" where the
// probability is too low. --check classifies the photographs in fixture/, and fails if one answer is unexpected.
// To keep it short, it reads PPM only; give the network the pixels of your own decoder: RGB, upright, of any size.
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <openvino/runtime/core.hpp>

struct Answer {
    std::string label;
    double probability;
};

// The texts and numbers of a JSON text, in their order. Classes have no control characters, so only \" and \\ occur.
static std::vector<std::string> values_of(const std::string& json) {
    std::vector<std::string> values;
    for (std::size_t i = 0; i < json.size(); ++i) {
        if (json[i] == '"') {
            std::string text;
            while (++i < json.size() && json[i] != '"') text += json[i] == '\\' ? json.at(++i) : json[i];
            values.push_back(text);
        } else if (std::isdigit(static_cast<unsigned char>(json[i]))) {
            const std::size_t start = i;
            while (i + 1 < json.size() && std::string("+-.0123456789e").find(json[i + 1]) != std::string::npos) ++i;
            values.push_back(json.substr(start, i - start + 1));
        }
    }
    return values;
}

// The pixels of a PPM file, (1, height, width, 3).
static ov::Tensor read_ppm(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + ": cannot be opened");
    std::string kind;
    std::size_t width = 0, height = 0, most = 0;
    file >> kind >> width >> height >> most;
    file.get();
    if (!file || kind != "P6" || most != 255 || !width || !height || width > (1u << 26) / height)
        throw std::runtime_error(path + ": is not a PPM file (P6, 8 bits) of at most 64 Mpx");
    ov::Tensor image(ov::element::u8, {1, height, width, 3});
    file.read(static_cast<char*>(image.data()), static_cast<std::streamsize>(image.get_byte_size()));
    if (!file) throw std::runtime_error(path + ": is cut off");
    return image;
}

class Classifier {
   public:
    explicit Classifier(const std::string& folder) {
        ov::Core core;
        std::shared_ptr<ov::Model> model;
        try {
            model = core.read_model(folder + "/model.xml");
        } catch (const std::exception&) {  // its text is long
            throw std::runtime_error(folder +
                                     ": model.xml or model.bin is missing or damaged: copy the whole folder again");
        }
        classes_ = values_of(model->get_rt_info<std::string>("labels"));
        threshold = std::strtod(model->get_rt_info<std::string>("threshold").c_str(), nullptr);
        bool bf16 = false;
        if (model->get_rt_info<std::string>("precision") == "bf16")
            for (const auto& name : core.get_property("CPU", ov::device::capabilities)) bf16 = bf16 || name == "BF16";
        const auto precision = ov::hint::inference_precision(bf16 ? ov::element::bf16 : ov::element::f32);
        request_ = core.compile_model(model, "CPU", precision).create_infer_request();
    }

    Answer operator()(const ov::Tensor& image) {
        request_.set_input_tensor(image);
        request_.infer();
        const ov::Tensor probabilities = request_.get_output_tensor();
        const float* p = probabilities.data<const float>();
        std::size_t best = 0;
        for (std::size_t i = 1; i < classes_.size(); ++i)
            if (p[i] > p[best]) best = i;
        return {classes_[best], p[best]};
    }

    double threshold = 0;

   private:
    std::vector<std::string> classes_;
    ov::InferRequest request_;
};

static int check(Classifier& classify, const std::string& fixture) {
    std::ifstream file(fixture + "/expected.json");
    if (!file) throw std::runtime_error(fixture + "/expected.json is missing: copy the whole folder again");
    const std::string json{std::istreambuf_iterator<char>(file), {}};
    const auto expected = values_of(json);  // tolerance, its value, answers, and for each: name, class, probability
    const double tolerance = std::stod(expected.at(1));
    std::size_t all = 0, wrong = 0;
    for (std::size_t i = 3; i < expected.size(); i += 3, ++all) {
        const Answer found = classify(read_ppm(fixture + "/" + expected[i]));
        const double probability = std::stod(expected.at(i + 2));
        if (found.label == expected[i + 1] && std::abs(found.probability - probability) <= tolerance) continue;
        std::printf("%s\t%s\t%.4f\texpected: %s %.4f\n", expected[i].c_str(), found.label.c_str(), found.probability,
                    expected[i + 1].c_str(), probability);
        ++wrong;
    }
    std::printf("%zu of %zu answers are as expected\n", all - wrong, all);
    return wrong || !all;
}

int main(int count, char** arguments) try {
    if (count < 3) {
        std::fprintf(stderr, "usage: example BUNDLE A.ppm B.ppm, or example BUNDLE --check\n");
        return 2;
    }
    const std::string folder = arguments[1];
    Classifier classify(folder);
    if (std::string(arguments[2]) == "--check") return check(classify, folder + "/fixture");
    int status = 0;
    for (int i = 2; i < count; ++i) try {
            const Answer found = classify(read_ppm(arguments[i]));
            std::printf("%s\t%s\t%.4f%s\n", arguments[i], found.label.c_str(), found.probability,
                        found.probability < classify.threshold ? "\tcannot tell" : "");
        } catch (const std::runtime_error& problem) {
            std::fprintf(stderr, "%s\n", problem.what());
            status = 1;
        }
    return status;
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
