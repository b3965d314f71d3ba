#pragma once

#include <map>
#include <string>

#include "twingrad/io/tensor_file.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"

namespace twingrad {

/// Texts in the metadata: the data set that the weights were trained on, and the size of its images.
inline const std::string kDataset = "twingrad.dataset";
inline const std::string kImageHeight = "twingrad.image_height";
inline const std::string kImageWidth = "twingrad.image_width";

/// The network of a twin as a file that Python loads: parameters and buffers by the names of torch.nn.Sequential, in the
/// twin's dtype; and the architecture as JSON in the metadata under "twingrad.network", beside the texts of `about`.
TensorFile weights_of(const Twin& twin, const MlpSpec& spec,
                      const std::map<std::string, std::string>& about = {});

/// The network that a weight file is of, as far as predicting needs it. Without the metadata, as in a state dict saved by
/// Python, names and shapes tell it: linear layers, each but the last followed by a normalization (or none), `activation` and
/// dropout (or none). Throws UserError, with `where` in front, if nothing fits.
MlpSpec network_of(const TensorFile& file, const std::string& where, const std::string& activation = "relu");

/// Copies the weights of a file into a twin of that network. Throws UserError, with `where` in front, if one is missing or has
/// another shape.
void load_weights(const Twin& twin, const TensorFile& file, const std::string& where);

}  // namespace twingrad
