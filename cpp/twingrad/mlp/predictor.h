#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "twingrad/io/grey_image.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"

namespace twingrad {

/// Classifies images with both twins.
class Predictor {
 public:
  /// Reads the weights of the autograd and the manual twin, which may be the same file (read_weights).
  /// activation: for weights without metadata (mlp/weights.h). Throws UserError if a file contains no
  /// network or weights that are not finite, or if the networks differ.
  Predictor(const std::filesystem::path& autograd, const std::filesystem::path& manual,
            const std::string& activation);

  const MlpSpec& spec() const { return spec_; }
  /// The size of the input images, from the metadata. Without metadata, images are square.
  std::int64_t height() const { return height_; }
  std::int64_t width() const { return width_; }
  /// The data set that the weights were trained on, from the metadata; "" if unknown.
  const std::string& dataset() const { return dataset_; }

  /// The prediction of one twin for one image.
  struct Prediction {
    std::vector<double> logits;         ///< [C]
    std::vector<double> probabilities;  ///< [C]: softmax of the logits; their sigmoid for bce_with_logits
    /// The class with the largest logit.
    std::size_t most_likely() const;
  };
  struct Predictions {
    Prediction autograd, manual;
  };
  /// What read_weights changed in the names and values of the weights, one line each.
  const std::vector<std::string>& notes() const { return notes_; }

  /// The predictions for images of height() × width() pixels. Throws UserError, naming the file, if a logit
  /// is not finite.
  std::vector<Predictions> predict(const std::vector<GreyImage>& images);

 private:
  std::string autograd_file_, manual_file_;
  std::vector<std::string> notes_;
  MlpSpec spec_;
  std::int64_t height_ = 0, width_ = 0;
  std::string dataset_;
  std::unique_ptr<Twin> autograd_, manual_;
  at::ScalarType dtype_ = at::kFloat;
};

}  // namespace twingrad
