#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

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

/// Reads the weights of a network (read_tensor_file), gives them the names of torch.nn.Sequential
/// (normalize_names), and requires them to be finite. notes: receives a line for the user about each change
/// of names and values. Throws UserError, beginning with `where` or the path.
TensorFile read_weights(const std::filesystem::path& path, const std::string& where,
                        std::vector<std::string>& notes);

/// Throws UserError, beginning with `where`, if an entry is infinite or not a number. It names the tensors
/// and the number of such entries in each.
void require_finite(const TensorFile& file, const std::string& where);

/// Throws UserError, beginning with `where`, if a logit is infinite or not a number: finite weights can
/// overflow too.
void require_finite_logits(const at::Tensor& logits, const std::string& where);

/// The network of a weight file, with the fields that prediction needs. For a file without metadata, such as
/// a state dict saved by Python, it is inferred from names and shapes: linear layers, each but the last
/// followed by an optional normalization, `activation` and optional dropout. The order of the tensors does
/// not matter. Throws UserError, beginning with `where`, if no network fits.
MlpSpec network_of(const TensorFile& file, const std::string& where, const std::string& activation = "relu");

/// Copies the weights of a file into a twin of the same network; only the dropout layers, which have no
/// weights, may differ. Throws UserError, beginning with `where`, if a tensor is missing, unknown or has
/// another shape, or if an entry is outside the range of the twin's dtype.
void load_weights(const Twin& twin, const TensorFile& file, const std::string& where);

}  // namespace twingrad
