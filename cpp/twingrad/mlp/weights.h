#pragma once

#include <map>
#include <string>

#include "twingrad/io/tensor_file.h"
#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"

namespace twingrad {

/// Keys of the metadata: the data set that the weights were trained on, and the size of its images.
inline const std::string kDataset = "twingrad.dataset";
inline const std::string kImageHeight = "twingrad.image_height";
inline const std::string kImageWidth = "twingrad.image_width";

/// The network of a twin as a file that Python can load: parameters and buffers with the names of
/// torch.nn.Sequential, in the twin's dtype. The metadata holds the architecture as JSON under
/// "twingrad.network", and the entries of `about`.
TensorFile weights_of(const Twin& twin, const MlpSpec& spec,
                      const std::map<std::string, std::string>& about = {});

/// The network of a weight file, with the fields that prediction needs. For a file without metadata, such as
/// a state dict saved by Python, it is inferred from names and shapes: linear layers, each but the last
/// followed by an optional normalization, `activation` and optional dropout. Throws UserError, beginning with
/// `where`, if no network fits.
MlpSpec network_of(const TensorFile& file, const std::string& where, const std::string& activation = "relu");

/// Copies the weights of a file into a twin of the same network. Throws UserError, beginning with `where`, if
/// one is missing or has another shape.
void load_weights(const Twin& twin, const TensorFile& file, const std::string& where);

}  // namespace twingrad
