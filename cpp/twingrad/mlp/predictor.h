#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"

namespace twingrad {

/// Classifies images with both twins.
class Predictor {
 public:
  /// Reads the weights (io/tensor_file.h) of the autograd and the manual twin, which may be the same file. activation: for
  /// weights without metadata (mlp/weights.h). Throws UserError if a file does not contain a network, or if the two
  /// networks differ.
  Predictor(const std::filesystem::path& autograd, const std::filesystem::path& manual,
            const std::string& activation);

  const MlpSpec& spec() const { return spec_; }
  /// Of the input: from the metadata, or those of a square image.
  std::int64_t height() const { return height_; }
  std::int64_t width() const { return width_; }
  /// The data set that the weights were trained on, from the metadata, or "".
  const std::string& dataset() const { return dataset_; }

  /// The prediction of one twin for N images.
  struct Answer {
    at::Tensor logits;  ///< [N, C], float64
    at::Tensor
        probabilities;  ///< [N, C]: softmax of the logits; after training with bce_with_logits, sigmoid
  };
  struct Answers {
    Answer autograd, manual;
  };
  /// images [N, height · width], float64, x / 255.
  Answers predict(const at::Tensor& images);

 private:
  MlpSpec spec_;
  std::int64_t height_ = 0, width_ = 0;
  std::string dataset_;
  std::unique_ptr<Twin> autograd_, manual_;
  at::ScalarType dtype_ = at::kFloat;
};

}  // namespace twingrad
