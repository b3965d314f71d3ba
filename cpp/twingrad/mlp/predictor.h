#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"

namespace twingrad {

/// What twins that have learned say of images: each computes in its own way.
class Predictor {
 public:
  /// Reads weights (io/tensor_file.h): of the autograd and the manual twin, which may be one file. activation: for weights
  /// without metadata (mlp/weights.h). Throws UserError if a file is no network, or if the two are not of the same.
  Predictor(const std::filesystem::path& autograd, const std::filesystem::path& manual,
            const std::string& activation);

  const MlpSpec& spec() const { return spec_; }
  /// Of the input. From the metadata, or a square.
  std::int64_t height() const { return height_; }
  std::int64_t width() const { return width_; }
  /// The data set that the weights were trained on, as far as the metadata tells; or "".
  const std::string& dataset() const { return dataset_; }

  /// What one twin says of N images.
  struct Answer {
    at::Tensor logits;  ///< [N, C], float64
    at::Tensor
        probabilities;  ///< [N, C]: softmax of the logits, for a network trained with bce_with_logits their sigmoid
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
